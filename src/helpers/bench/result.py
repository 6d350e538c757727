"""One row of `study bench`, and the file that holds it; `results/bench/README.md` explains the fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from helpers.files import write_text
from helpers.machine import describe_machine
from helpers.paths import RESULTS

N_ROUNDS = 5  # in which ours and the baseline take turns: a time is the median of so many
Measurement = tuple[str, str, float, float, str, int, dict[str, Any]]  # what `describe` takes, and more


def describe(name: str, unit: str, ours: float, baseline: float, against: str, n: int) -> dict[str, Any]:
    """Return one row with its origin."""
    return compare(name, unit, ours, baseline, against, n) | describe_origin()


def compare(name: str, unit: str, ours: float, baseline: float, against: str, n: int) -> dict[str, Any]:
    """Return one row; `ratio` is ours over the baseline, of seconds the baseline over ours."""
    ratio = baseline / ours if unit == "s" else ours / baseline
    return {
        "name": name,
        "unit": unit,
        "ours": round(ours, 4),
        "baseline": round(baseline, 4),
        "against": against,
        "ratio": round(ratio, 2),
        "n": n,
    }


def show_row(row: Mapping[str, Any]) -> str:
    """Return a row in words."""
    times = "times as fast as" if row["unit"] == "s" else "times"
    return (
        f"{row['name']}: {row['ours']:.4g} {row['unit']}, {row['ratio']:.4g} {times} {row['against']} "
        f"({row['baseline']:.4g}), n = {row['n']}"
    )


def describe_origin() -> dict[str, Any]:
    """Return machine, versions and date, as every file of `results/bench` has them."""
    machine = describe_machine()
    return {
        "machine": machine["machine"],
        "versions": machine["versions"],
        "date": machine["created"][:10],
    }


def save(row: dict[str, Any]) -> dict[str, Any]:
    """Write a row to its file and return it."""
    write_text(RESULTS / "bench" / f"{row['name']}.json", json.dumps(row, indent=1) + "\n")
    return row
