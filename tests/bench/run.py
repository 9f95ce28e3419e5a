"""The budgets of the design, measured as ratios in one run; prints a table and writes docs/benchmarks.md.

    nox -s bench            all rows, some minutes
    nox -s bench -- --quick fewer rounds

What is compared takes turns, A B A B, so that a machine that slows down slows both. Medians are quoted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from measure import Row, table

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"


def main() -> int:
    """Measure, print, write. The exit status is 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and the page is not written")
    parser.add_argument("--only", help="rows of this module only: start, local, waiting, broker, slurm")
    args = parser.parse_args()
    rows: list[Row] = []
    for name in ("start", "local", "waiting", "broker", "slurm"):
        if args.only in (None, name):
            rows += __import__(f"rows_{name}").rows(5 if args.quick else 15)
    text = table(rows)
    sys.stdout.write(text)
    if not args.quick and args.only is None:
        PAGE.write_text(page(text), encoding="utf-8")
    return 0 if all(row.is_met for row in rows) else 1


def page(text: str) -> str:
    """The page of the documentation around the table."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("qiskit", "qiskit-aer", "pulser-core"))
    return (
        "# Benchmarks\n\n"
        "The budgets of the design, measured in one run of `nox -s bench`. Ratios carry over to other machines\n"
        "better than times do: what is compared takes turns, and each figure is a median.\n\n"
        f"Measured on {datetime.now(UTC):%d %B %Y}: Python {platform.python_version()}, {os.cpu_count()} CPUs,\n"
        f"{libraries}.\n\n"
        f"{text}"
    )


if __name__ == "__main__":
    sys.path.insert(0, str(HERE))
    sys.exit(main())
