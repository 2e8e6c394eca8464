"""What a process asks of its hardware: threads, memory that it keeps, reproducible kernels, and fast float32 products where they are exact."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import torch

from speechxai.io.processes import keep_freed_memory

MAX_GROWTH = 2.0
"""Fast products may be so many times less exact than the usual ones: the order of a sum alone changes as much."""


def configure(
    device: str | torch.device = "cpu", *, threads: int | None = None, deterministic: bool = False
) -> dict[str, Any]:
    """Set this process up and return what may change results, for `environment.json`.

    Args:
        device: where networks run.
        threads: of one process; None leaves them: all cores, or what OMP_NUM_THREADS says.
        deterministic: only kernels that give the same bytes every time on the same machine with the same number of threads; an
            operation that has none ends with an error. Fast products are left off.
    """
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
    """Name the setting of `torch.set_float32_matmul_precision` to use on this processor: "medium" only where it is exact.

    "medium" lets oneDNN choose how float32 matrices are multiplied. On processors without bfloat16 units that is float32, and on
    some the fastest way; on others it rounds to 8 bits. So a product is compared with float64 under both settings.
    """
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        usual = product_error()
        torch.set_float32_matmul_precision("medium")
        return "medium" if product_error() <= MAX_GROWTH * usual else "highest"
    finally:
        torch.set_float32_matmul_precision(before)


def product_error() -> float:
    """Error of a float32 product of two random matrices against float64, as a share of its norm; about 3e-7 for float32."""
    random = torch.Generator().manual_seed(0)
    left, right = torch.randn(256, 768, generator=random), torch.randn(512, 768, generator=random)
    exact = left.double() @ right.double().T
    found = torch.nn.functional.linear(left, right).double()
    return float((found - exact).norm() / exact.norm())
