# pyright: reportMissingImports=false
"""Matrices -> SVG: horizontal bars, jaxcls in colour, everybody else in grey. Needs matplotlib (extra `bench`)."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.summary import OURS, Cell, Column, Matrix
from benchmarks.tables import NONE, number

PAPER, INK, FAINT = "#fbfaf7", "#2b2b2b", "#8a8a86"
OURS_COLOUR, THEIRS_COLOUR = "#d1495b", "#b9bdc4"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "jaxcls",  # and ids stay the same
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "DejaVu Sans"],
    "font.size": 8,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": FAINT,
    "ytick.color": INK,
}
CUT = 2  # times the median bar
PANEL_WIDTH, BAR_HEIGHT, PANEL_EXTRA, LABELS_WIDTH = 2.5, 0.19, 0.5, 1.9  # inches


def plot(matrix: Matrix, path: Path) -> None:
    """Writes one figure: a panel for each column of the matrix, models down and workloads across.

    The same matrix gives the same bytes with the same matplotlib.
    """
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    grid = layout(matrix)
    width = LABELS_WIDTH + PANEL_WIDTH * len(grid[0])
    height = (PANEL_EXTRA + BAR_HEIGHT * len(matrix.peers)) * len(grid) + 0.25
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(grid), len(grid[0]), figsize=(width, height), squeeze=False, facecolor=PAPER, layout="constrained"
        )
        for line, panels in zip(grid, axes, strict=True):
            for column, axis in zip(line, panels, strict=True):
                if column is None:
                    axis.set_visible(False)
                else:
                    _panel(matrix, column, axis, labels=column is line[0])
        better = "more is better" if matrix.higher_is_better else "less is better"
        figure.supxlabel(f"{matrix.unit}, {better}", fontsize=8, color=FAINT)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", facecolor=PAPER, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def layout(matrix: Matrix) -> list[list[Column | None]]:
    """Panels, line by line: a model's workloads in a line, or three models in a line where there are no workloads."""
    if any(workload for _, workload in matrix.columns):
        models = list(dict.fromkeys(model for model, _ in matrix.columns))
        workloads = sorted({workload for _, workload in matrix.columns})
        return [[(m, w) if (m, w) in matrix.columns else None for w in workloads] for m in models]
    across = min(3, len(matrix.columns))
    padded: list[Column | None] = [*matrix.columns, *[None] * (-len(matrix.columns) % across)]
    return [padded[start : start + across] for start in range(0, len(padded), across)]


def _panel(matrix: Matrix, column: Column, axis: Any, *, labels: bool) -> None:
    cells = [matrix.cells.get((peer, column)) for peer in matrix.peers]
    end = longest_bar([cell.median for cell in cells if cell], matrix.higher_is_better)
    for place, (peer, cell) in enumerate(zip(matrix.peers, cells, strict=True)):
        _bar(axis, place, cell, OURS_COLOUR if peer.startswith(OURS) else THEIRS_COLOUR, end)
    axis.set_title(" · ".join(filter(None, column)), loc="left", fontsize=9, color=INK)
    axis.set_ylim(len(matrix.peers) - 0.4, -0.6)
    axis.set_xlim(0, end * 1.28)  # room for the numbers
    axis.set_yticks(range(len(matrix.peers)), matrix.peers if labels else [""] * len(matrix.peers))
    axis.set_xticks([])
    axis.tick_params(length=0)
    axis.set_facecolor(PAPER)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for label in axis.get_yticklabels():
        if label.get_text().startswith(OURS):
            label.set(color=OURS_COLOUR, fontweight="bold")


def longest_bar(values: Sequence[float], higher_is_better: bool) -> float:
    """Where bars end. One that is much slower than the others is cut off, or nothing could be told of the others."""
    return max(values) if higher_is_better else min(max(values), CUT * statistics.median(values))


def _bar(axis: Any, place: int, cell: Cell | None, colour: str, end: float) -> None:
    gap = end * 0.02
    if cell is None:
        axis.text(gap, place, NONE, va="center", color=FAINT)
        return
    cut = cell.median > end
    axis.barh(place, min(cell.median, end), height=0.72, color=colour, alpha=0.35 if cell.wrong else 1)
    if cell.high > cell.low and not cut:
        axis.plot([cell.low, min(cell.high, end)], [place, place], color=INK, linewidth=0.8, solid_capstyle="butt")
    if cut:
        axis.plot([end * 0.965, end * 0.985], [place + 0.5, place - 0.5], color=PAPER, linewidth=2)
    text = number(cell.median) + (" wrong scores" if cell.wrong else "")
    axis.text(min(max(cell.median, cell.high), end) + gap, place, text, va="center", color=INK)
