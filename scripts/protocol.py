"""What each correction of the published protocol changes by itself, where the authors' recordings are not to be had.

    python scripts/protocol.py --root DATA --out runs/protocol-corrections      about ten minutes of one core
    python scripts/protocol.py --root DATA --leak 40                            the split by clip alone, some minutes

Recordings below DATA (folders `mdvr-kcl` and `figshare-voice`, see their data cards), repeated or cut to 10 s, are
explained by two tiny HuBERTs of random weights with the published head, whose answers are spread around 0.5. So the
numbers say how much a correction can change, not what it changes on PC-GITA. Prints the first tables of `protocol.md`.

The split by clip needs speakers with several clips: `--leak N` cuts the vowels of N speakers of `figshare-voice` into
three clips each, explains them by a small network of random weights, and trains the auxiliary classifier on saliency
times spectrogram, once with other clips of a tested speaker in the training data and once without.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import soundfile
import torch

from speechxai.auxiliary.folder import run_study
from speechxai.auxiliary.values import AuxiliarySettings
from speechxai.classifiers import Classifier, build
from speechxai.classifiers.bundle import BundleConfig, SegmentSettings, StftSettings, load_bundle, save_bundle
from speechxai.classifiers.imports import SEGMENT
from speechxai.data.cards import build_manifest
from speechxai.data.corpus import load
from speechxai.data.manifest import Locator, write_manifest
from speechxai.evaluation.config import from_dict
from speechxai.evaluation.executors import execute
from speechxai.evaluation.runs import RunFolder
from speechxai.evaluation.session import create_run, prepare
from speechxai.evaluation.unit import tiled
from speechxai.evaluation.values import EvaluateSettings
from speechxai.mancini2025.study import complete
from speechxai.mancini2025.unit import clip
from speechxai.signal.stft import spectrogram
from speechxai.types import Recording, StftConfig

FOLDS = 2
STFT = StftConfig()


def chosen(root: Path, n_telephone: int) -> pd.DataFrame:
    """All clips of MDVR-KCL below `root` and the first telephone vowels of both classes."""
    parts = []
    for card in ("mdvr-kcl", "figshare-voice"):
        table, _ = build_manifest(card, root / card)
        table["path"] = [f"{card}/{path}" for path in table["path"]]
        parts.append(table if card == "mdvr-kcl" else table.groupby("label").head(n_telephone // 2))
    return pd.concat(parts, ignore_index=True)


def network(seed: int, voices: list[Recording]) -> Classifier:
    """A tiny HuBERT of random weights with the published head, whose log odds of `voices` are 0 +- 1."""
    torch.manual_seed(seed)
    backbone = build("ssl", STFT, size="tiny", hidden_size=48, n_classes=1)
    model = Classifier(backbone, STFT, SEGMENT).eval()
    settings = EvaluateSettings(("saliency",), ("faithfulness",))
    with torch.no_grad():
        z = torch.cat([backbone(s.magnitude, s.phase)[:, 0] for s in (clip(v, STFT, settings) for v in voices)])
        output = backbone.network.head.output
        output.weight.div_(z.std())
        output.bias.sub_(z.mean()).div_(z.std())
    return model


def heard_twice(model: Classifier, voice: Recording) -> tuple[float, float]:
    """P(PD) of a clip heard once in 861 frames, and as two segments of 860 that lie two frames apart."""
    once = clip(voice, STFT, EvaluateSettings(("saliency",), ("faithfulness",)))
    peak = voice.waveform / voice.waveform.abs().max()
    spec = spectrogram(tiled(peak, voice.sample_rate)[None], STFT)
    with torch.no_grad():
        z = model.backbone(once.magnitude, once.phase, once.n_samples)
        cuts = [model.backbone(spec.magnitude[..., a : a + 860], spec.phase[..., a : a + 860]) for a in (0, 2)]
    return float(z.sigmoid()), float(torch.cat(cuts).mean().sigmoid())


def leak(root: Path, out: Path, n_speakers: int, *, card: str = "figshare-voice", epochs: int = 30) -> pd.DataFrame:
    """Accuracy and AUROC of the auxiliary classifier, split by clip and by speaker.

    Args:
        root: folder with the recordings of `card`, one a speaker.
        out: where clips, network and study are written.
        n_speakers: half of each class.
        card: name of a data card.
        epochs: of the auxiliary classifier's training.
    """
    table, _ = build_manifest(card, root)
    rows = table.groupby("label").head(n_speakers // 2).to_dict("records")
    stft = StftConfig(n_fft=256, win_length=256, hop_length=64, sample_rate=8_000)
    for row in rows:
        voice = load(row, Locator(root), sample_rate=stft.sample_rate)
        folder = out / "clips" / ("HC", "PD")[row["label"]] / Path(row["speaker"]).name
        folder.mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(voice.waveform.chunk(3)):
            soundfile.write(folder / f"{number}.wav", part.numpy(), stft.sample_rate)
    torch.manual_seed(0)
    options = {"n_mels": 32, "f_max_hz": 4_000.0}
    model = Classifier(build("cnn", stft, **options), stft).eval()
    config = BundleConfig(
        name="random-cnn",
        title="A small network of random weights",
        architecture="cnn",
        options=options,
        stft=StftSettings(**{name: getattr(stft, name) for name in StftSettings.model_fields}),
    )
    bundle = save_bundle(out / "random-cnn", config, {"final": model}, "# Random weights\n")
    asked = {
        "data": "folder",
        "root": str(out / "clips"),
        "model": str(bundle.folder),
        "recipes": ["saliency"],
        "metrics": ["mean_mask"],
        "controls": False,
        "maps": True,
        "out": str(out / "leak"),
    }
    session = prepare(from_dict(asked, "scripts/protocol.py"), bundle=load_bundle(bundle.folder))
    folder = create_run(session)
    execute(session, folder)
    settings = AuxiliarySettings(
        ("saliency",), input="masked", n_seeds=3, n_folds=4, n_mels=32, epochs=epochs, checkpoints=False
    )
    found = run_study(RunFolder(folder.path), settings).table("leak")
    shown = found["metric"].isin(("accuracy", "auroc")) & found["name"].isin(("saliency", "original"))
    return found[shown].round(3)


def main() -> None:
    """Make networks and manifest, run the published protocol, print its first tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder that holds mdvr-kcl and figshare-voice")
    parser.add_argument("--out", type=Path, default=Path("runs/protocol-corrections"))
    parser.add_argument("--telephone", type=int, default=4, help="telephone vowels, half of each class")
    parser.add_argument("--leak", type=int, metavar="N", help="only the split by clip, with this many speakers")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.leak:
        print(leak(given.root / "figshare-voice", given.out, given.leak).to_string(index=False))
        return
    table = chosen(given.root, given.telephone)
    write_manifest(table, given.out / "manifest.csv")
    locator = Locator(given.root)
    voices = [
        load(row, locator, sample_rate=16_000, normalize="none", offset="kept") for row in table.to_dict("records")
    ]
    models = [network(seed, voices) for seed in range(FOLDS)]
    speakers = list(dict.fromkeys(table["speaker"]))
    config = BundleConfig(
        name="random-hubert",
        title="Tiny HuBERTs of random weights",
        architecture="ssl",
        options={"size": "tiny", "hidden_size": 48, "n_classes": 1},
        stft=StftSettings(**{name: getattr(STFT, name) for name in StftSettings.model_fields}),
        segment=SegmentSettings(length_s=SEGMENT.length_s, hop_s=SEGMENT.hop_s, short=SEGMENT.short),
        cam_layer=models[0].cam_layer,
    )
    fold = {name: number % FOLDS for number, name in enumerate(speakers)}
    content = config.model_dump() | {"speakers": fold}
    content["weights"]["n_folds"] = FOLDS
    parts = {"final": models[0], **{f"fold{k}": model for k, model in enumerate(models)}}
    bundle = save_bundle(given.out / "random-hubert", BundleConfig.model_validate(content), parts, "# Random weights\n")
    run = given.out / "run"
    asked = {
        "data": str(given.out / "manifest.csv"),
        "root": str(given.root),
        "model": str(bundle.folder),
        "protocol": "mancini2025",
        "recipes": ["published"],
        "metrics": ["published", "mean_mask"],
        "controls": False,
        "maps": True,
        "published": {"corrected": False},
        "out": str(run),
    }
    session = prepare(from_dict(asked, "scripts/protocol.py"), bundle=load_bundle(bundle.folder))
    folder = create_run(session)
    execute(session, folder)
    complete(session, folder)
    lines = (run / "protocol.md").read_text().split("\n**The same, map by map**")[0]
    print(lines)
    changed = [heard_twice(models[fold[name]], voice) for name, voice in zip(table["speaker"], voices, strict=True)]
    print("P(PD) of clips heard once, and as two segments:", ", ".join(f"{a:.3f} {b:.3f}" for a, b in changed))


if __name__ == "__main__":
    main()
