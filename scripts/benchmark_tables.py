"""The tables that scripts/benchmark.py prints, in Markdown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import benchmark_parts as parts
from benchmark_children import child, exponent, method_row
from benchmark_study import studies

from speechxai.errors import NotApplicable
from speechxai.explain import METHODS
from speechxai.explain.recipe import PUBLISHED_METHODS


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    print(f"\n**{title}**\n\n" + "\n".join(f"| {line} |" for line in lines), flush=True)


def methods(name: str, given: argparse.Namespace) -> None:
    """Cost of every method."""
    model, spec = parts.network(name), parts.batch(given.seconds)
    unit, rows = parts.forward_s(model, spec), []
    for method in PUBLISHED_METHODS if given.quick else METHODS:
        try:
            rows.append(method_row(method, model, spec, unit, given.repeats))
        except NotApplicable as error:
            rows.append([method, "", "", "", str(error)])
    show(
        f"{name}, {given.seconds:g} s; one forward pass takes {unit:.3f} s",
        ("method", "forward", "backward", "cost in forward passes", "with"),
        rows,
    )


def study(name: str, given: argparse.Namespace) -> None:
    """The published study beside the naive pipeline."""
    rows, agree = studies(name, given.seconds, given.repeats)
    show(
        f"study, {name}, {given.seconds:g} s, {given.repeats} runs",
        ("pipeline", "forward", "backward", "cost in forward passes", "times as fast"),
        rows,
    )
    head = (
        "difference to naive",
        "maps",
        "least correlation of maps",
        "probabilities",
        "AD, AG",
        "AI that differ, ties apart",
        "Gini, entropy",
    )
    show(f"agreement, {name}", head, agree)


def growth(title: str, sizes: Sequence[float], tasks: list[dict[str, object]], given: argparse.Namespace) -> None:
    """Processor time and memory over a size, and the exponent of their fit."""
    found = [[child(**task) for _ in range(given.repeats)] for task in tasks]
    costs = [sorted(run["cpu_s"] for run in runs)[len(runs) // 2] for runs in found]
    rows = [
        [f"{s:g}", f"{c:.2f}", f"{max(r['peak_gib'] for r in runs):.2f}"]
        for s, c, runs in zip(sizes, costs, found, strict=True)
    ]
    show(
        f"{title}: time grows with exponent {exponent(list(sizes), costs):.2f}",
        ("size", "processor time, s", "peak, GiB"),
        rows,
    )


def memory(given: argparse.Namespace) -> None:
    """Peak memory of a process that explains two recordings by one method, and that steps do not add to it."""
    rows = []
    for method in PUBLISHED_METHODS if given.quick else (*METHODS, "study"):
        task = {"network": "hubert", "seconds": given.seconds, "n": 2} | (
            {} if method == "study" else {"method": method}
        )
        try:
            rows.append([method, f"{child(**task)['peak_gib']:.2f}"])
        except SystemExit as error:
            rows.append([method, "not applicable" if "NotApplicable" in str(error) else str(error)])
    for n_steps in (8, 64):
        task = {
            "network": "hubert",
            "seconds": 2.5,
            "n": 2,
            "method": "integrated_gradients",
            "options": {"integrated_gradients": {"n_steps": n_steps}},
        }
        rows.append([f"integrated_gradients, 2.5 s, {n_steps} steps", f"{child(**task)['peak_gib']:.2f}"])
    show(f"memory, HuBERT-base, {given.seconds:g} s, two recordings", ("method", "peak, GiB"), rows)
