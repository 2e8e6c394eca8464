"""A small PC-GITA of synthetic voices: the real folders and names, splits in the published form, and fold
checkpoints."""

from __future__ import annotations

from pathlib import Path

import soundfile
import soxr
import torch

from speechxai.data.synthetic import takes
from tests.unit.test_import_bundle import network, published

FOLDS = 3
LAYOUT = {
    "ka": "DDK_analysis/ka-ka-ka/sin_normalizar/{status}/{speaker}_ka.wav",
    "Monologo": "monologue/sin_normalizar/{status}/{speaker}-Monologo-NR.wav",
}
WORD = "words/batea/sin normalizar/{status}/{speaker}_batea.wav"
HEADER = "original_id,audio_path,status,speaker_id,group,UPDRS,UPDRS-speech,H/Y,SEX,AGE,time after diagnosis"


def speakers(fold: int) -> dict[str, str]:
    """The two speakers that fold `fold` tests, and their status."""
    return {f"AVPEPUDEA{fold:04d}": "pd", f"AVPEPUDEAC{fold:04d}": "hc"}


def make_tree(root: Path) -> Path:
    """Write the recordings, 44.1 kHz, and the splits; returns `root`, which holds both."""
    voices = iter(takes(2 * FOLDS, seed=5, tasks=["vowel-a", "ddk"]))
    base = root / "PC-GITA_per_task_44100Hz"
    rows: dict[str, list[str]] = {}
    for fold in range(1, FOLDS + 1):
        for number, (speaker, status) in enumerate(speakers(fold).items()):
            for index, pattern in enumerate((*LAYOUT.values(), WORD)):
                if index < 2:
                    waveform = next(voices).recording().waveform.numpy()[4_000 : 9_000 + 2_000 * number]
                # the third is a word: the same voice again, which the published study leaves out
                path = base / pattern.format(status=status, speaker=speaker)
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, soxr.resample(0.3 * waveform, 16_000, 44_100), 44_100)
                told = f"/mnt/disk/data/{path.relative_to(root)}".replace("sin_normalizar/pd", "sin_normalizar/PD")
                rows.setdefault(speaker, []).append(
                    f"{path.stem},{told},{status},{speaker},{number},13.0,0.0,1,M,75.0,1"
                )
    for fold in range(1, FOLDS + 1):
        for part in ("train", "test"):
            folder = root / "pcgita_splits" / f"TRAIN_TEST_{fold}"
            folder.mkdir(parents=True, exist_ok=True)
            chosen = [row for name, own in rows.items() if (name in speakers(fold)) == (part == "test") for row in own]
            (folder / f"{part}.csv").write_text("\n".join([HEADER, *chosen]) + "\n")
    return root


def make_checkpoints(folder: Path) -> Path:
    """Write fold_1.pt ... as SSL4PR saves them: tiny HuBERTs of random weights, a network a fold."""
    folder.mkdir(parents=True)
    for fold in range(1, FOLDS + 1):
        # of a head with few units all may be silent, and then its guided map is empty
        torch.save(published(network(fold, hidden_size=24)), folder / f"fold_{fold}.pt")
    return folder
