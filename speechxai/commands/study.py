"""`speechxai study`: can a person tell a true explanation from a false one? A study of readers, before and after."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxai.commands.console import Command, flag, progress_bars, say, table, warn
from speechxai.flags import MAX_SEED

if TYPE_CHECKING:
    from speechxai.readers.design import Case, Study
    from speechxai.readers.report import Report
    from speechxai.readers.store import Store

study_app = typer.Typer(
    name="study",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    help="Reader studies: can people tell true from false explanations?",
    epilog="""
Examples:

\b
  speechxai study new demo.toml --demo           8 synthetic cases, ten minutes
  speechxai study check demo.toml                its cases, balance, power, and the readers' codes
  speechxai app --study demo.toml                readers answer, each with a code
  speechxai study report demo.toml --out demo    what they did: HTML, CSV, LaTeX
  speechxai study report ratings.csv             ratings from elsewhere: iMRMC, jsPsych, MRMCaov

Answers lie in one file beside the study, demo.sqlite: health data, of which nothing leaves this computer.
""",
)


def _examples(*lines: str) -> str:
    return "Examples:\n\n\b\n" + "".join(f"  speechxai study {line}\n" for line in lines)


File = Annotated[Path, typer.Argument(metavar="FILE", help="Study file (TOML).")]


@study_app.command("new", cls=Command, epilog=_examples("new study.toml", "new demo.toml --demo"))
def new(
    file: File,
    demo: Annotated[bool, typer.Option("--demo", help="8 synthetic cases in one sitting of ten minutes.")] = False,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Write a study file, every line explained: two arms crossed, 80 cases, sittings of 20, 16 readers."""
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_out, write_atomically
    from speechxai.readers.design import template
    from speechxai.readers.store import beside

    if file.suffix != ".toml":
        raise SpeechXAIError(f"{file}: a study file ends in .toml.")
    check_out(file, "file", overwrite)
    if beside(file).exists():
        raise SpeechXAIError(f"{beside(file)}: there are answers to a study of this name. Choose another name.")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, template(demo).encode())
    say(f"Written to {file}: read it, change it, then: speechxai study check {file}")


@study_app.command("check", cls=Command, epilog=_examples("check study.toml", "check study.toml --no-prepare"))
def check(
    file: File,
    prepare: Annotated[
        bool, typer.Option(help="Choose the recordings and make what is shown of them, where this is not done.")
    ] = True,
    again: Annotated[
        bool, typer.Option("--again", help="Make the cases anew; not once somebody has answered.")
    ] = False,
    repeats: Annotated[int, typer.Option(min=50, max=10_000, help="Simulated studies for the power.")] = 400,
) -> None:
    """Prepare the cases, check the plan, say what the study can find, and print the readers' codes.

    Exit status: 0 the plan holds, 1 it does not, 2 wrong input.
    """
    from speechxai.readers import design
    from speechxai.readers.store import Store, beside

    study = design.load(file)
    cases: list[Case] = []
    if prepare:
        store = Store(beside(file))
        store.begin(study)
        cases = _prepared(study, store, again)
    cases = cases or design.dealt(study)
    counted = [case for case in cases if not case.training]
    say(
        f"{study.title}: {study.readers} readers, {len(counted)} cases and {len(cases) - len(counted)} for training;"
        f" arms {', '.join(study.arms)}, {'crossed' if study.crossed else 'each case in one of them'}."
    )
    rows = [
        (row.arm, str(row.n), f"{row.condition:.2f}", f"{row.right:.2f}", f"{row.true:.2f}")
        for row in design.balance(study, 0, cases)
    ]
    say(table(("arm of reader 1", "cases", "condition", "answer right", "map true"), rows, right=range(1, 5)))
    per = design.slots(study, 0, cases)
    say(f"{per[-1].sitting} sittings for each reader, {study.gap_days:g} days between rounds of all cases.")
    turned = sum(bool(case.facts.get("turned_round")) for case in counted)
    if turned:
        say(f"{turned} shown answers are the model's turned round: readers must be told so afterwards.")
    found = design.problems(study, cases)
    for problem in found:
        warn(f"Warning: {problem}")
    say(_power_words(study, repeats))
    say("Codes: " + ", ".join(design.codes(study)))
    if found:
        raise typer.Exit(1)


def _prepared(study: Study, store: Store, again: bool) -> list[Case]:
    from speechxai.errors import SpeechXAIError
    from speechxai.readers.material import prepare

    cases = store.cases()
    if cases and not again:
        return cases
    if cases and store.answers():
        raise SpeechXAIError(f"{store.path}: readers have answered already; their cases stay. Leave out --again.")
    with progress_bars(lambda total, what: what) as show:
        return prepare(study, store, show)


def _power_words(study: Study, repeats: int) -> str:
    from speechxai.readers.design import WITH_ANSWER
    from speechxai.readers.simulate import power

    if len([arm for arm in study.arms if arm in WITH_ANSWER]) < 2 or study.readers < 2:
        return "Power: a difference in reliance needs two arms with the model's answer and two readers; here is none."
    found = power(study.expected, study.arms, study.readers, study.cases.n, study.crossed, repeats)
    return (
        f"{found.sentence} ({repeats} simulated studies, interval {found.low:.2f} to {found.high:.2f}; where nothing"
        f" differs it would say so falsely in {100 * found.alarms:.0f} %.)"
    )


@study_app.command(
    "simulate",
    cls=Command,
    epilog=_examples(
        "simulate study.toml --out simulated.sqlite     readers as [expected] says, answers as of people",
        "report study.toml --answers simulated.sqlite --out simulated",
        "simulate study.toml --repeats 200              do the intervals hold what was planted?",
    ),
)
def simulate(
    file: File,
    out: Annotated[Path | None, flag("out", also="A new .sqlite file of simulated answers.")] = None,
    repeats: Annotated[
        int, typer.Option(min=0, max=100_000, help="Simulate so many studies and count intervals that hold the truth.")
    ] = 0,
    skill: Annotated[float | None, typer.Option(min=0.01, max=0.99, help="AUC by sound alone.")] = None,
    reliance: Annotated[float | None, typer.Option(min=0.01, max=0.99, help="Share of appropriate reliance.")] = None,
    fall: Annotated[float | None, typer.Option(min=-0.5, max=0.5, help="Fall of it in the later arms.")] = None,
    telling: Annotated[float | None, typer.Option(min=0.01, max=0.99, help="AUC of true from false maps.")] = None,
    reader_arm_sd: Annotated[float | None, typer.Option(min=0, max=5, help="Spread of readers x arms.")] = None,
    case_arm_sd: Annotated[float | None, typer.Option(min=0, max=5, help="Spread of cases x arms.")] = None,
    seed: Annotated[int, flag("seed", max=MAX_SEED)] = 0,
    overwrite: Annotated[bool, flag("overwrite")] = False,
) -> None:
    """Let simulated readers answer, with the skill, reliance and spread that the file's [expected] or flags state."""
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_out
    from speechxai.readers import design
    from speechxai.readers import simulate as simulated
    from speechxai.readers.store import Store, beside

    if out is None and not repeats:
        raise SpeechXAIError("Say what to do: --out FILE.sqlite for answers, --repeats N to see what intervals hold.")
    study = design.load(file)
    given = {
        "skill": skill,
        "reliance": reliance,
        "fall": fall,
        "telling": telling,
        "reader_arm_sd": reader_arm_sd,
        "case_arm_sd": case_arm_sd,
    }
    study = design.expecting(study, **{name: value for name, value in given.items() if value is not None})
    if out is not None:
        if out.suffix != ".sqlite" or out.absolute() == beside(file).absolute():
            raise SpeechXAIError(f"{out}: simulated answers go into a .sqlite file of another name than the study's.")
        check_out(out, "file", overwrite)
        if out.exists():
            Store(out).check()
            if not Store(out).facts().get("simulated"):
                raise SpeechXAIError(f"{out}: these are not simulated answers, and they stay. Choose another name.")
        for path in (out, *(out.with_name(out.name + end) for end in ("-wal", "-shm"))):
            path.unlink(missing_ok=True)
        n = simulated.fill(study, Store(out), design.dealt(study), seed)
        say(f"{n} readings of {study.readers} simulated readers: {out}")
        say(f"Read them with: speechxai study report {file} --answers {out}")
    if repeats:
        with progress_bars(lambda total, what: what) as show:
            found = simulated.coverage(study, repeats, seed, lambda done, total: show(done, total, "simulated studies"))
        rows = [
            (one.name, f"{one.planted:.3f}", f"{one.mean:.3f}", f"{one.held} of {one.n}", f"{one.share:.3f}")
            for one in found
        ]
        say(table(("planted", "value", "mean found", "intervals hold it", "share"), rows, right=range(1, 5)))


@study_app.command(
    "report",
    cls=Command,
    epilog=_examples(
        "report study.toml --out results",
        "report study.toml --answers simulated.sqlite",
        "report VanDyke.csv                   reader, treatment, case, truth, rating",
        "report imrmc.csv --out results       readerID, caseID, modalityID, score",
    ),
)
def report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Study file (TOML), or a table of ratings (CSV).")],
    out: Annotated[
        Path | None, flag("out", also="A folder: report.html, report.tex, tables and answers as CSV.")
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="Answers elsewhere than beside the study, as simulated.")] = None,
) -> None:
    """Say what readers did: skill, reliance, whether they tell true from false, and which metric goes with them."""
    from speechxai.errors import SpeechXAIError
    from speechxai.files import check_out
    from speechxai.readers import design
    from speechxai.readers import report as reports
    from speechxai.readers.store import Store, beside, read_ratings

    if out is not None:
        check_out(out)
    if file.suffix != ".toml":
        if answers is not None:
            raise SpeechXAIError("--answers belongs to a study file, and a table of ratings holds its own.")
        found = reports.of_ratings(file.stem, read_ratings(file))
        _said(found, reports.write(out, found) if out else [])
        return
    study = design.load(file)
    path = answers or beside(file)
    if not path.is_file():
        raise SpeechXAIError(f"{path}: nobody has answered yet. Start with: speechxai study check {file}")
    store = Store(path)
    store.check(study)
    found = reports.of_store(study, store)
    _said(found, reports.write(out, found, study, store) if out else [])


def _said(found: Report, files: list[Path]) -> None:
    from speechxai.report.render import console

    for fact, value in found.facts:
        say(f"{fact}: {value}")
    say()
    for one in found.tables:
        say(one.title)
        say(console(one))
        say()
    for finding in found.findings:
        say(f"{'! ' if finding.tone == 'caution' else '  '}{finding.text}")
    if files:
        say()
        say(f"{len(files)} files: {files[0].parent}")


@study_app.command("forget", cls=Command, epilog=_examples("forget study.toml R03-CP"))
def forget(file: File, code: Annotated[str, typer.Argument(metavar="CODE", help="Code of the reader.")]) -> None:
    """Delete everything that one reader answered, as readers may ask."""
    from speechxai.errors import SpeechXAIError
    from speechxai.readers import design
    from speechxai.readers.store import Store, beside

    study = design.load(file)
    place = design.place_of(study, code)
    if place is None:
        raise SpeechXAIError(f"{code}: this study has no such reader.")
    path = beside(file)
    n = Store(path).forget(design.codes(study)[place]) if path.is_file() else 0
    say(f"{n} answers of {design.codes(study)[place]} deleted.")
