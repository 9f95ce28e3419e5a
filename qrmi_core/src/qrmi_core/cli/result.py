"""`qrmi result show|plot`: look at a result."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qrmi_core.cli import show

if TYPE_CHECKING:
    from qrmi_core.results import Counts, Values

INTERMIXED = False

_MOST_BARS = 16


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.description = "Look at a result that qrun wrote: counts of bit strings, or expectation values."
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="show|plot")
    show = verbs.add_parser("show", help="text bars on the terminal")
    show.add_argument("file", metavar="RESULT", help="a result file, or - for standard input")
    show.add_argument("--top", type=int, default=_MOST_BARS, metavar="N", help="show the N most frequent (%(default)s)")
    plot = verbs.add_parser("plot", help="a picture")
    plot.add_argument("file", metavar="RESULT", help="a result file, or - for standard input")
    plot.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the picture; its ending chooses the format"
    )
    plot.add_argument("--top", type=int, default=_MOST_BARS, metavar="N", help="plot the N most frequent (%(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from qrmi_core.errors import ConfigError

    if args.top < 1:
        raise ConfigError.one("--top", "", f"is {args.top}", "Give at least 1")
    found = _views(args.file)
    if args.verb == "show":
        show("\n".join(line for view in found for line in _lines(view, args.top)) + "\n")
    else:
        _plot(found, Path(args.output), args.top)
    return 0


def _views(file: str) -> list[Counts | Values]:
    from qrmi_core.errors import ConfigError, PayloadError
    from qrmi_core.intake import content
    from qrmi_core.payload import parse_json
    from qrmi_core.results import views

    try:
        source, raw = content(file)
        return views(parse_json(raw, source), source)
    except PayloadError as exc:  # of a result, nothing is ever submitted
        raise ConfigError.one(exc.source, exc.path, exc.problem, exc.remedy) from exc


def bars(view: Counts, top: int) -> list[tuple[str, int]]:
    """The most frequent bit strings, most frequent first."""
    return sorted(view.counts.items(), key=lambda item: (-item[1], item[0]))[:top]


def _lines(view: Counts | Values, top: int) -> list[str]:
    from qrmi_core.errors import shown
    from qrmi_core.results import Values

    title = shown(view.title)
    if isinstance(view, Values):
        width = max(len(label) for label, _, _ in view.values)
        return [
            title,
            *(f"  {label:<{width}}  {value:+.6f} +- {error:.6f}" for label, value, error in view.values),
        ]
    total = sum(view.counts.values())
    listed = bars(view, top)
    widest = max(len(bits) for bits, _ in listed)
    room = max(10, min(60, shutil.get_terminal_size().columns - widest - 22))
    most = listed[0][1]
    lines = [f"{title}: {total} shots"]
    for bits, count in listed:
        lines.append(f"  {shown(bits)}  {_block(count / most * room):<{room}}  {count:>7}  {count / total:6.1%}")
    if rest := len(view.counts) - len(listed):
        left = total - sum(count for _, count in listed)
        lines.append(f"  and {rest} more, {left} shots together")
    return lines


def _block(length: float) -> str:
    eighths = round(length * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _plot(found: list[Counts | Values], output: Path, top: int) -> None:
    from qrmi_core.errors import ConfigError
    from qrmi_core.results import Values

    try:
        import matplotlib as mpl

        mpl.use("agg")
        import matplotlib.pyplot as plt
    except ImportError as exc:
        raise ConfigError.one(
            "qrmi result plot", "", "matplotlib is not installed", 'Install it: pip install "qrmi-core[plot]"'
        ) from exc
    figure, every = plt.subplots(len(found), 1, figsize=(8, 3.6 * len(found)), squeeze=False, layout="constrained")
    for axes, view in zip(every[:, 0], found, strict=True):
        axes.set_title(view.title)
        axes.spines[["top", "right"]].set_visible(False)
        if isinstance(view, Values):
            labels, values, errors = zip(*view.values, strict=True)
            axes.errorbar(range(len(labels)), values, yerr=errors, fmt="o", capsize=4)
            axes.set_xticks(range(len(labels)), labels, rotation=45 if len(labels) > 6 else 0)
            axes.set_ylabel("expectation value")
            axes.axhline(0, color="0.8", linewidth=1, zorder=0)
        else:
            labels, counts = zip(*sorted(bars(view, top)), strict=True)
            drawn = axes.bar(labels, counts, width=0.6)
            axes.bar_label(drawn, padding=2)
            axes.tick_params(axis="x", rotation=60 if len(labels) > 8 or len(labels[0]) > 8 else 0)
            axes.set_ylabel(f"counts of {sum(view.counts.values())} shots")
    try:
        figure.savefig(output, dpi=120, format=output.suffix.lstrip(".") or "png")  # or it would add an ending
    except (OSError, ValueError) as exc:
        raise ConfigError.one(str(output), "", f"the picture cannot be written: {exc}", "Choose another file") from exc
    finally:
        plt.close(figure)
