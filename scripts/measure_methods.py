"""Time and memory of every attribution method on a HuBERT-base network with random weights.

    python scripts/measure_methods.py RECORDING.wav --seconds 5 --seconds 10

Prints each method's time as a multiple of one forward and backward pass in the same run, by wall clock and by processor
time (steadier on a shared machine), and the peak memory of a process that ran this method alone. With --quick the
methods
that average over samples or try patches take few of them; their time grows in proportion.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from speechxai.classifiers import Classifier, build
from speechxai.errors import NotApplicable
from speechxai.explain import METHODS
from speechxai.explain.explain import explain
from speechxai.signal import audio
from speechxai.signal.stft import SegmentConfig, spectrogram

QUICK: dict[str, dict[str, object]] = {
    "smoothgrad": {"n_samples": 4},
    "integrated_gradients": {"n_steps": 4},
    "gradient_shap": {"n_samples": 4},
    "rise": {"n_masks": 8},
    "occlusion": {"patch_ms": 2000.0, "stride_ms": 2000.0, "patch_hz": 4000.0, "stride_hz": 4000.0},
}
HEAD = "| method | wall | processor | pass, s | peak, GiB |\n|---|---|---|---|---|"


def seconds_of(run: Callable[[], object], n: int = 1) -> tuple[float, float]:
    """Fastest of `n` runs: wall clock and processor time, seconds."""
    times = []
    for _ in range(n):
        start = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    return min(times)


def row(given: argparse.Namespace, method: str, n_samples: int) -> str:
    """Run one method in this process and give its line of the table."""
    torch.manual_seed(0)
    backbone: Any = build("ssl", family=given.family, size=given.size)
    segment = SegmentConfig(given.segment, given.segment / 2)
    classifier = Classifier(backbone, None, segment, cam_layer=backbone.cam_layer, max_batch=backbone.max_batch)
    classifier.eval().requires_grad_(False)
    waveform = audio.read(given.recording, sample_rate=16_000).waveform
    spec = spectrogram(waveform.repeat(-(-n_samples // len(waveform)))[None, :n_samples])

    def both_ways() -> None:
        magnitude = spec.magnitude.clone().requires_grad_()
        torch.autograd.grad(classifier(magnitude, spec.phase)[:, 1].sum(), magnitude)

    wall, processor = seconds_of(both_ways, 2)
    chosen = {method: QUICK[method]} if given.quick and method in QUICK else {}
    try:
        took = seconds_of(lambda: explain(classifier, spec, method, 1, options=chosen))
        shown = f"{took[0] / wall:.1f} | {took[1] / processor:.1f}" + (f" at {QUICK[method]}" if chosen else "")
    except NotApplicable as error:
        shown = f"{error} | "
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return f"| {method} | {shown} | {processor:.1f} | {peak_gib:.2f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", help="real voice; cut or repeated to the asked length")
    parser.add_argument("--seconds", type=float, action="append", help="length of the recording (default: 5 and 10)")
    parser.add_argument("--method", action="append", choices=list(METHODS), help="only these (default: all)")
    for flag, default in {"--family": "hubert", "--size": "base", "--segment": 5.0}.items():
        parser.add_argument(flag, type=type(default), default=default, help=f"of the network (default: {default})")
    parser.add_argument("--quick", action="store_true", help="few samples and patches")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        print(json.dumps(row(wanted, wanted.method[0], int(16_000 * wanted.seconds[0]))))
        sys.exit(0)
    same = ["--family", wanted.family, "--size", wanted.size, "--segment", str(wanted.segment)]
    same += ["--quick"] if wanted.quick else []
    for length_s in wanted.seconds or [5.0, 10.0]:
        print(f"{length_s:g} s, {wanted.family} {wanted.size}, {torch.get_num_threads()} threads\n{HEAD}")
        for name in wanted.method or METHODS:
            asked = [wanted.recording, "--child", f"--method={name}", f"--seconds={length_s}"]
            done = subprocess.run([sys.executable, __file__, *asked, *same], capture_output=True, text=True)
            print(json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr, flush=True)
