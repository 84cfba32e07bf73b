"""Picture of the map of where tiles pay: latency by bandwidth, for every model and fleet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, ScalarFormatter

from benchmarks.tiled_map import PAYS, MapCell
from services.cli.render.chart_style import COLORS, chart_style
from services.cli.render.plotting import write_figure

_COLUMN_IN: Final = 3.4
_ROW_IN: Final = 2.4
_LINES: Final = (
    ("single_ms", "best single device", "--", "o"),
    ("sequential_ms", "best route without tiles", "-", "s"),
    ("tiled_ms", "best route with tiles", "-", "D"),
)


def write_picture(cells: Sequence[MapCell], path: Path) -> None:
    """Write the picture; one panel per model (rows) and fleet (columns), with the bandwidths at which tiles pay shaded.

    Raises:
        OSError: the file cannot be written.
    """
    models, fleets = (list(dict.fromkeys(getattr(each, key) for each in cells)) for key in ("model", "fleet"))
    with chart_style():
        figure = Figure(figsize=(_COLUMN_IN * len(fleets), _ROW_IN * len(models) + 0.6), layout="constrained")
        panels = figure.subplots(len(models), len(fleets), squeeze=False, sharex=True)
        for row, model in enumerate(models):
            for column, fleet in enumerate(fleets):
                own = [each for each in cells if (each.model, each.fleet) == (model, fleet)]
                _draw(panels[row, column], own, f"{model}: {fleet}")
        for axes in panels[-1]:
            axes.set_xlabel("bandwidth of each link, Mbps")
        for row in panels:
            row[0].set_ylabel("latency, ms")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(_LINES) + 1, frameon=False)
        write_figure(figure, path, "Where tiles pay", "")


def _draw(axes: Axes, cells: Sequence[MapCell], title: str) -> None:
    bandwidths = [each.bandwidth_mbps for each in cells]
    axes.set_title(title)
    axes.set_xscale("log")
    for place, each in enumerate(cells):
        if each.gain > PAYS:
            low = bandwidths[place] if place == 0 else (bandwidths[place - 1] * bandwidths[place]) ** 0.5
            last = place + 1 == len(cells)
            high = bandwidths[place] if last else (bandwidths[place] * bandwidths[place + 1]) ** 0.5
            axes.axvspan(low, high, color=COLORS[2], alpha=0.12, lw=0)
            axes.annotate(
                f"{each.gain:.1f}x",
                (each.bandwidth_mbps, each.tiled_ms),
                textcoords="offset points",
                xytext=(0, -13),
                ha="center",
                fontsize=8,
                color=COLORS[2],
            )
    for color, (key, label, style, marker) in zip(COLORS, _LINES, strict=False):
        axes.plot(
            bandwidths, [getattr(each, key) for each in cells], style, marker=marker, ms=4, color=color, label=label
        )
    axes.set_xticks(bandwidths)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(0, 1.15 * max(max(each.single_ms, each.sequential_ms) for each in cells))
