"""SSL4PR's fold checkpoints as one bundle: each speaker is explained by the network that never heard them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from speechxai.classifiers import Classifier
from speechxai.data.splits import published_splits
from speechxai.errors import SpeechXAIError
from speechxai.io import import_checkpoints as imports
from speechxai.io.bundle_config import AudioSettings, BundleConfig, SegmentSettings, StftSettings
from speechxai.io.bundle_parts import save_parts
from speechxai.io.checkpoints import Bundle, load_bundle
from speechxai.segments import SegmentConfig
from speechxai.types import StftConfig

SEGMENT = SegmentConfig(10.0, 5.0, "keep")
"""SSL4PR hears 10 s at a time."""

CARD = """# {name}

{n} fold networks imported from SSL4PR checkpoints (La Quatra et al., Interspeech 2024): {family}, {size} size, all hidden
layers mixed, attention pooling, two hidden layers, one output.

- Weights: {source}, unchanged, under other names.
- {speakers}
- Recordings of other speakers are heard by the network of fold {first}, because there is no network trained on all speakers.
- A research tool, not a medical device.
"""


def import_folds(
    folder: str | Path,
    out: str | Path,
    splits: str | Path | None = None,
    config: str | Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Bundle:
    """Turn `fold_1.pt` ... `fold_10.pt` into a bundle, one network in memory at a time.

    Args:
        folder: where the checkpoints are.
        out: the bundle's folder.
        splits: folder with the published `TRAIN_TEST_<k>`; the speakers tested in fold k are then always heard by network k.
        config: the foundation model's config.json or its folder, where shapes do not tell the architecture.
        progress: called with (folds done, folds, what was done).

    Raises:
        SpeechXAIError: no or wrong checkpoints, folds of different architectures, or splits of other folds.
    """
    paths = imports.ssl4pr_folds(folder)
    numbers = list(paths)
    speakers: dict[str, int] = {}
    if splits is not None:
        table = published_splits(splits)
        tested = table[table["part"] == "test"].drop_duplicates("speaker")
        if absent := sorted(set(tested["fold"]) - set(numbers)):
            raise SpeechXAIError(
                f"{folder}: there is no fold_{absent[0]}.pt for the published fold {absent[0]} of {splits}."
            )
        speakers = {str(row.speaker): numbers.index(int(row.fold)) for row in tested.itertuples()}  # type: ignore[arg-type]
    first = imports.ssl4pr(paths[numbers[0]], config)
    stft, options = StftConfig(), dict(first.options)
    classifier = imports.classifier(first, stft, SEGMENT)

    def networks() -> Iterator[tuple[str, Classifier]]:
        for index, (number, path) in enumerate(paths.items()):
            imported = first if index == 0 else imports.ssl4pr(path, config)
            if dict(imported.options) != options:
                raise SpeechXAIError(
                    f"{path}: another architecture than {paths[numbers[0]]}: {imported.options} and {options}."
                )
            imported.load_into(classifier)
            yield f"fold{index}", classifier
            if progress is not None:
                progress(index + 1, len(paths), f"fold {number}")

    name = Path(out).name
    settings = BundleConfig(
        name=name,
        title=f"SSL4PR {options['family']} {options['size']}, {len(paths)} folds",
        architecture="ssl",
        options=options,
        stft=StftSettings(**{key: getattr(stft, key) for key in StftSettings.model_fields}),
        segment=SegmentSettings(length_s=SEGMENT.length_s, hop_s=SEGMENT.hop_s, short=SEGMENT.short),
        audio=AudioSettings(normalize="none"),  # SSL4PR hears recordings at the level they have
        cam_layer=classifier.cam_layer,
        max_batch=classifier.max_batch,
        training={"source": "SSL4PR checkpoints", "cites": "laquatra2024exploiting"},
        speakers=speakers,
    )
    heard = f"{len(speakers)} speakers are heard by the network that was not trained on them." if speakers else (
        "Without the published splits no speaker is known to a fold: every recording is heard by the first network."
    )  # fmt: skip
    card = CARD.format(
        name=name, n=len(paths), family=options["family"], size=options["size"], source=", ".join(path.name for path in paths.values()),
        speakers=heard, first=numbers[0],
    )  # fmt: skip
    return load_bundle(save_parts(out, settings, networks(), card, final="fold0"))
