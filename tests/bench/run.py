"""The budgets of the design, measured as ratios in one run; prints a table and writes docs/benchmarks.md.

    nox -s bench            all rows, some minutes
    nox -s bench -- --quick fewer rounds
    nox -s bench -- --only ibm   the rows of one module, and its table of the page

What is compared takes turns, A B A B, so that a machine that slows down slows both. Medians are quoted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from measure import Row, table

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks.md"
NAMES = ("start", "local", "waiting", "broker", "slurm", "ibm")


def main() -> int:
    """Measure, print, write. The exit status is 1 if a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, and the page is not written")
    parser.add_argument("--only", choices=NAMES, help="rows of this module only")
    args = parser.parse_args()
    measured: dict[str, list[Row]] = {}
    for name in NAMES:
        if args.only in (None, name):
            measured[name] = __import__(f"rows_{name}").rows(5 if args.quick else 15)
    rows = [row for found in measured.values() for row in found]
    sys.stdout.write(table(rows))
    if not args.quick:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), measured), encoding="utf-8")
    return 0 if all(row.is_met for row in rows) else 1


def updated(text: str, measured: Mapping[str, list[Row]]) -> str:
    """The page *text* with new tables, and every other word of its sections as it was.

    Rows of a module go between ``<!-- NAME -->`` and ``<!-- end -->`` where the page has that, else to the top of the
    page, which is written when all of them were measured.
    """
    others: list[Row] = []
    for name, rows in measured.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        if mark:
            after = rest.partition("<!-- end -->")[2]
            text = f"{before}{mark}\n{occasion()}.\n\n{table(rows)}\n<!-- end -->{after}"
        else:
            others += rows
    if len(measured) < len(NAMES):
        return text
    _, heading, sections = text.partition("\n## ")
    return page(table(others)) + heading + sections


def occasion() -> str:
    """When and on what it was measured."""
    return (
        f"Measured on {datetime.now(UTC):%d %B %Y}: Python {platform.python_version()}, {os.cpu_count()} CPUs, "
        f"load {os.getloadavg()[1]:.1f}"
    )


def page(text: str) -> str:
    """The page of the documentation around the table."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("qiskit", "qiskit-aer", "pulser-core"))
    return (
        "# Benchmarks\n\n"
        "The budgets of the design, measured in one run of `nox -s bench`. Ratios carry over to other machines\n"
        "better than times do: what is compared takes turns, and each figure is a median.\n\n"
        f"{occasion()},\n{libraries}.\n\n"
        f"{text}"
    )


if __name__ == "__main__":
    tests = HERE.parent  # before any row asks for a backend: what is installed is looked up once
    sys.path[:0] = [str(HERE), str(tests), str(tests / "broker" / "installed")]
    sys.exit(main())
