"""`speechxai app`: start the web app on this computer."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from speechxai.commands.console import flag, warn
from speechxai.errors import SpeechXAIError
from speechxai.files import check_out, read_toml, resource_folder

EPILOG = """
Examples:

\b
  speechxai app                                                      synthetic voices, then http://127.0.0.1:8501
  speechxai app --data figshare-voice --root DATA --model figshare-cnn --run runs/first
  speechxai app --study demo.toml                                    the reader's screen of a study

Stop it with Ctrl-C.
"""

_LOCAL = ("127.0.0.1", "localhost", "::1")
_EVERY = ("0.0.0.0", "::")  # noqa: S104


def flags(content: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Write the settings of a Streamlit `config.toml` as flags, which hold whatever folder it is started from.

    >>> list(flags({"server": {"headless": True, "maxUploadSize": 60}}))
    ['--server.headless=true', '--server.maxUploadSize=60']
    """
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from flags(value, f"{prefix}{name}.")
        else:
            yield f"--{prefix}{name}={str(value).lower() if isinstance(value, bool) else value}"


def command(arguments: list[str], port: int, host: str, browser: bool) -> list[str]:
    """Return the command that starts the app.

    Args:
        arguments: handed to the app itself.
        port: of the server, 0 for any free one.
        host: address it listens on.
        browser: whether to open a page.

    Raises:
        SpeechXAIError: the app's files are missing or cannot be read.
    """
    folder = resource_folder("app")
    path = folder / ".streamlit" / "config.toml"
    try:
        content = read_toml(path)
    except SpeechXAIError as error:
        raise SpeechXAIError(f"{error} Install speechxai again.") from error
    content["server"] |= {"address": host, "port": port, "headless": not browser}
    return [sys.executable, str(folder / "serve.py"), *flags(content), "--", *arguments]


def names(host: str, allowed: list[str]) -> list[str]:
    """Names that the app answers to beside the local ones: the address it listens on, and those allowed.

    >>> names("voices.example", ["proxy.example:8443"]), names("0.0.0.0", [])
    (['voices.example', 'proxy.example:8443'], [])

    Raises:
        SpeechXAIError: a name that no address can hold.
    """
    for name in allowed:
        if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)(:[0-9]{1,5})?", name):
            raise SpeechXAIError(f"--allow-host '{name}': write NAME or NAME:PORT, as in the browser's address bar.")
    if host in (*_LOCAL, *_EVERY):
        return allowed
    host = host.partition("%")[0]  # a network interface, which no Host header says
    return [f"[{host}]" if ":" in host else host, *allowed]


def app(
    data: Annotated[str, flag("data")] = "synthetic",
    root: Annotated[Path | None, flag("root")] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Run folder for the Benchmark page; may be given again.")
    ] = None,
    model: Annotated[list[str] | None, flag("model", also="Shown first; repeat for several.")] = None,
    allow_code: Annotated[bool, flag("allow_code")] = False,
    save_to: Annotated[Path | None, typer.Option(help="Folder for saved cases; by default ~/speechxai-cases.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the server.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but this computer opens it to others.")
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:PORT]",
            help=(
                "Answer to this name too, for example a reverse proxy's, which must hand on the Host header; may be"
                " given again. "
                "Without it: localhost, 127.0.0.1, [::1] and --host."
            ),
        ),
    ] = None,
    passwords: Annotated[
        Path | None,
        typer.Option(help="File of passwords: nobody sees anything without one. --add-user makes it."),
    ] = None,
    add_user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Ask for a password, write its hash into the file of --passwords, and end."),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a page in the browser.")] = True,
    imports: Annotated[list[str] | None, flag("imports")] = None,
    study: Annotated[
        Path | None, typer.Option(help="Study file: readers see its page alone ('speechxai study' makes and reads it).")
    ] = None,
    cache: Annotated[bool, typer.Option(help="Keep computed maps of the data set's recordings on disk.")] = True,
) -> None:
    """Open the web app on this computer."""
    if importlib.util.find_spec("streamlit") is None:
        raise SpeechXAIError("The web app needs Streamlit: pip install 'speechxai[app]'.")
    if add_user is not None:
        if passwords is None:
            raise SpeechXAIError("--add-user: name the file of passwords with --passwords FILE.")
        words = [sys.executable, str(resource_folder("app") / "logins.py"), str(passwords), add_user]
        raise typer.Exit(subprocess.run(words, check=False).returncode)  # noqa: S603
    if study is not None:
        check_study(study, bool(root or run or model or save_to) or data != "synthetic")
    else:
        check_start(data, root, run or [], model or [], allow_code, save_to)
    check_port(host, port)
    if passwords is not None and not passwords.is_file():
        raise SpeechXAIError(f"{passwords}: there is no such file of passwords. Make it with --add-user NAME.")
    if host not in _LOCAL and passwords is None:
        warn(f"The app listens on {host}: whoever reaches this computer can open it, without a password (--passwords).")
    elif host not in _LOCAL:
        warn(f"The app listens on {host} without encryption: let a proxy with TLS stand before it.")
    arguments = ["--data", str(_absolute(data))]
    arguments += ["--root", os.path.realpath(root)] if root else []
    for name, values in (("--run", run or []), ("--model", model or [])):
        for value in values:
            arguments += [name, str(_absolute(str(value)))]
    for module in imports or []:
        arguments += ["--import", module]
    arguments += ["--allow-code"] if allow_code else []
    arguments += ["--save-to", os.path.realpath(save_to)] if save_to else []
    arguments += [] if cache else ["--no-cache"]
    arguments += ["--study", os.path.realpath(study)] if study else []
    arguments += ["--passwords", os.path.realpath(passwords)] if passwords else []
    for name in names(host, allow_host or []):
        arguments += ["--answer-to", name]
    # In a checkout that is not installed, the server must find the package as this process does.
    package = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))}
    words = command(arguments, port, host, browser)
    if os.name == "posix":
        # The server takes this process's place, so that whoever stops the one stops the other.
        os.execve(words[0], words, environment)  # noqa: S606
    try:
        status = subprocess.run(words, env=environment, check=False).returncode  # noqa: S603
    except KeyboardInterrupt:
        status = 0
    if status:
        raise SpeechXAIError(
            f"The web app ended with status {status}. If the port is taken, choose another with --port."
        )


def check_start(
    data: str, root: Path | None, runs: list[Path], models: list[str], allow_code: bool, save_to: Path | None
) -> None:
    """Look at everything that the app is started with, so that what is wrong is said here and not to who opens a page.

    Raises:
        SpeechXAIError: data, runs or models that are not there or cannot be read, or a folder that cannot be written.
    """
    from speechxai.classifiers.bundle import bundle_names, load_bundle
    from speechxai.evaluation.config import from_dict
    from speechxai.evaluation.session import find_recordings

    if data == "synthetic":
        if root is not None:
            raise SpeechXAIError("--root names the folder of a data set's recordings: name the data set with --data.")
    else:
        content = {"data": data, "model": (models or bundle_names())[0], "root": root}
        config = from_dict({key: value for key, value in content.items() if value is not None}, "The command line")
        if find_recordings(config)[0].empty:
            raise SpeechXAIError(f"{root or data}: no recordings found. 'speechxai data check' says why.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other library versions: the About page says so
        for name in models:
            load_bundle(name, allow_code).naming_classes("The web app")
    for folder in runs:
        check_runs(folder)
    if save_to is not None:
        check_out(save_to)


def check_study(file: Path, more: bool) -> None:
    """Look at a study before readers do. Raises SpeechXAIError where it is not ready, or more than it is asked for."""
    from speechxai.readers.design import load
    from speechxai.readers.store import Store, beside

    if more:
        raise SpeechXAIError("--study shows its page alone: leave out --data, --root, --model, --run and --save-to.")
    study, store = load(file), Store(beside(file))
    ready = beside(file).is_file()
    if ready:
        store.begin(study)
    if not ready or not store.cases():
        raise SpeechXAIError(f"{file}: its cases are not prepared. Prepare them with: speechxai study check {file}")


def check_runs(folder: Path) -> None:
    """Check that a folder is a run that can be opened, or holds some. Raises SpeechXAIError where it is not."""
    from speechxai.evaluation.runs import RunFolder

    if not folder.is_dir():
        raise SpeechXAIError(f"{folder}: there is no such folder of a run.")
    if not any((path / "config.toml").is_file() and (path / "units").is_dir() for path in folder.glob("*")):
        RunFolder.open(folder)


def check_port(host: str, port: int) -> None:
    """Check that the server can listen. Raises SpeechXAIError for an address or a port that it cannot have."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as tried:
            if os.name == "posix":  # as the server does: a port that was just given up is free
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except OSError as error:
        is_address = isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        where = f"--host {host}" if is_address else f"--port {port}"
        raise SpeechXAIError(
            f"{where}: the app cannot listen there ({error.strerror}). Choose another with --port or --host."
        ) from error


def _absolute(value: str) -> str | Path:
    """Return a path as an absolute one, and a name as it is."""
    path = Path(value)
    return path.resolve() if path.exists() and (len(path.parts) > 1 or path.suffix) else value
