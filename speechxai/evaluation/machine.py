"""The machine and the libraries that a run ran on. The command line begins with it, so PyTorch is imported where
used."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechxai.files import cache_folder, fingerprint, read_json, to_json, write_atomically

if TYPE_CHECKING:
    import torch
    from torch import nn

    from speechxai.classifiers.precision import Choices

# What processes begin with, before anything heavy is imported.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h


def thread_environment(n_threads: int | None) -> dict[str, str]:
    """Environment that holds numerical libraries to so many threads; to be set before a process begins."""
    if n_threads is None:
        return {}
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys(names, str(n_threads))


def begin_process(parent: int) -> None:
    """Make this process a good worker: it leaves Ctrl-C to its parent, ends when the parent does, and keeps its
    models."""
    from joblib.externals.loky import process_executor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # loky replaces a worker that has grown by 300 MB since its first task: here that is the next fold's network.
    process_executor._USE_PSUTIL = False
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


@cache
def keep_freed_memory() -> bool:
    """Let this process use freed memory again instead of asking the system for new pages at every layer; glibc alone
    knows how.

    A network's layers take and free the same few sizes over and over, and fresh pages must be zeroed and mapped each
    time. It holds
    for the rest of the process, which does not shrink any more after its largest recording.

    Returns:
        Whether the C library took the settings.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # The largest blocks go back all the same: kept, they leave holes, and the peak grows by half.
    settings = ((_M_MMAP_THRESHOLD, 32 * 2**20), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, 64 * 2**20))
    return all(mallopt(name, value) == 1 for name, value in settings)


def give_back_memory() -> None:
    """Give freed memory back to the system, where something large is over and the process goes on; glibc alone knows
    how."""
    gc.collect()
    if sys.platform.startswith("linux"):
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def dask_setup(worker: object) -> None:
    """Let a worker of dask leave Ctrl-C to its parent; dask calls this where the module is named as a preload."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


# The machine and the libraries that a run ran on.
def machine() -> dict[str, Any]:
    """Versions of Python and the libraries, system, cores and threads."""
    import torch

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "n_cores": os.cpu_count(),
        "n_threads": torch.get_num_threads(),
        "libraries": versions(("torchaudio", "pandas", "zarr")),
    }


EXACT = ("speechxai", "torch", "numpy", "scipy", "librosa", "soxr", "soundfile", "captum")
"""What computes a run's numbers: another version of one of them may give others."""


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of EXACT, and of `more` where they are installed."""
    return {name: metadata.version(name) for name in (*EXACT, *more) if _installed(name)}


def peak_memory_mb() -> float:
    """Largest memory that this process held so far, MB; NaN where the system does not tell."""
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


# What a process asks of its hardware: threads, memory that it keeps, reproducible kernels, and fast float32 products
# where they are exact.
MAX_GROWTH = 2.0
"""Fast products may be so many times less exact than the usual ones: the order of a sum alone changes as much."""


def configure(
    device: str | torch.device = "cpu", *, threads: int | None = None, deterministic: bool = False
) -> dict[str, Any]:
    """Set this process up and return what may change results, for `environment.json`.

    Args:
        device: where networks run.
        threads: of one process; None leaves them: all cores, or what OMP_NUM_THREADS says.
        deterministic: only kernels that give the same bytes every time on the same machine with the same number of
            threads; an
            operation that has none ends with an error. Fast products are left off.
    """
    import torch

    keep_freed_memory()
    if threads is not None:
        torch.set_num_threads(threads)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
        torch.backends.cudnn.benchmark = False
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(True)
    elif torch.device(device).type == "cpu":
        torch.set_float32_matmul_precision(fastest_exact_products())
    return {
        "n_threads": torch.get_num_threads(),
        "deterministic": deterministic,
        "float32_products": torch.get_float32_matmul_precision(),
    }


@cache
def fastest_exact_products() -> str:
    """Name the setting of `torch.set_float32_matmul_precision` to use on this processor: "medium" only where it is
    exact.

    "medium" lets oneDNN choose how float32 matrices are multiplied. On processors without bfloat16 units that is
    float32, and on
    some the fastest way; on others it rounds to 8 bits. So a product is compared with float64 under both settings.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        usual = product_error()
        torch.set_float32_matmul_precision("medium")
        return "medium" if product_error() <= MAX_GROWTH * usual else "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def product_error() -> float:
    """Error of a float32 product of two random matrices against float64, as a share of its norm; about 3e-7 for
    float32."""
    import torch

    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(256, 768, generator=random), torch.randn(512, 768, generator=random)
    exact = left.double() @ right.double().T
    found = torch.nn.functional.linear(left, right).double()
    return float((found - exact).norm() / exact.norm())


def processor() -> str:
    """Name of the processor and of the units that decide how fast it multiplies."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"model name\s*:\s*(.+)", text)
    units = [unit for unit in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{unit}\b", text)]
    return f"{name[1] if name else platform.machine()} ({', '.join(units) or 'units unknown'})"


def choices(model: nn.Module, precision: str = "float32") -> Choices:
    """What this machine does fastest with a network's shapes, tried once and kept in the cache folder.

    Args:
        model: the classifier, on the CPU.
        precision: what was asked for.
    """
    import torch

    from speechxai.classifiers.network import as_network
    from speechxai.classifiers.precision import Choices, choose

    network = as_network(model)
    shapes = [list(values.shape) for values in model.parameters()]
    heard = [str(network.segment), str(network.stft), network.max_batch, type(network.backbone).__name__]
    key = fingerprint([processor(), torch.__version__, torch.get_num_threads(), shapes, heard, precision])
    path = cache_folder() / "choices.json"
    known = read_json(path) or {}
    with suppress(KeyError, TypeError):  # not tried, or by another version
        found = Choices(**known[key])
        if found.float32_products in ("highest", "medium") and found.masked_batch >= 1:
            return found
    fast = fastest_exact_products()
    found = choose(model, ("highest", *([fast] if fast != "highest" else [])), precision)
    with suppress(OSError):  # a place that cannot be written costs another trial
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, to_json({**known, key: asdict(found)}))
    return found
