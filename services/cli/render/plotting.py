"""Pictures of a decision: the Gantt chart of the chosen plan, and the envelope of the candidate routes.

Imported only on demand: matplotlib belongs to the extra `plot`.
"""

import html
import io
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.queueing.operations import Work
from planning.sensitivity.envelope import Envelope, critical_envelope, latency_at_ms
from planning.simulation.simulation import Activity, Timeline, simulate
from services.cli.render.plan_values import route_text

MAX_BARS: Final = 1000
MAX_ENVELOPES: Final = 3
MAX_CURVES: Final = 7
_SAMPLES: Final = 200
_LABELLED_SHARE: Final = 0.025
_TILE_LABELLED_SHARE: Final = 0.08
_EDGED_SHARE: Final = 0.008
_LEGEND_COLUMNS: Final = 36
_WIDTH_IN: Final = 11.0
_COLORS: Final = ("#4477aa", "#d6404f", "#228833", "#b8860b", "#1198b0", "#aa3377", "#5a4fcf", "#8c564b", "#777777")
_INK: Final = "#222222"


def draw(problem: Problem, plan: Plan, answers: Mapping[str, Plan | Infeasible], seed: int) -> Figure:
    """Return the picture: the plan's Gantt chart above, below it one envelope per stream.

    Args:
        problem: the problem.
        plan: the chosen plan; its burst is simulated.
        answers: of every strategy; their routes are drawn beside the envelope.
        seed: of the simulation.
    """
    timeline = simulate(problem, plan, seed=seed)
    envelopes = [
        envelope
        for stream in problem.streams[:MAX_ENVELOPES]
        if (envelope := critical_envelope(problem, stream, _routes_of(answers, stream.name))) is not None
    ]
    heights = [_gantt_height_in(timeline), *(3.4 for _ in envelopes)]
    with _style():
        figure = Figure(figsize=(_WIDTH_IN, sum(heights) + 0.5), layout="constrained")
        axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        _gantt(axes[0], plan, timeline)
        for place, envelope in zip(axes[1:], envelopes, strict=True):
            _envelope(place, problem, envelope, plan)
    return figure


def draw_gantt(plan: Plan, timeline: Timeline) -> Figure:
    """Return the Gantt chart of a simulation of ``plan`` alone."""
    with _style():
        figure = Figure(figsize=(_WIDTH_IN, _gantt_height_in(timeline) + 0.5), layout="constrained")
        _gantt(figure.subplots(), plan, timeline)
    return figure


def _gantt_height_in(timeline: Timeline) -> float:
    return 1.1 + 0.34 * len(_rows(timeline.activities))


def write(figure: Figure, path: Path, title: str, text: str) -> None:
    """Write the picture; a page (.html) carries ``text`` below it.

    Raises:
        OSError: if the file cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    with _style():
        figure.savefig(buffer, format="svg" if form == "html" else form, dpi=150)
    if form != "html":
        path.write_bytes(buffer.getvalue())
        return
    picture = buffer.getvalue().decode()
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        "<style>body{font-family:sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
        "svg{width:100%;height:auto}pre{overflow-x:auto;line-height:1.2}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{picture[picture.index('<svg') :]}\n"
        f"<pre>{html.escape(text)}</pre></body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _style() -> AbstractContextManager[None]:
    return matplotlib.rc_context(
        {
            "font.size": 9,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.fonttype": "none",
            "svg.hashsalt": "segue",
        }
    )


def _gantt(axes: Axes, plan: Plan, timeline: Timeline) -> None:
    """Draw one row per device and link, one bar per operation, one colour per route; tiles with their rows."""
    shown = sorted(timeline.activities, key=lambda activity: activity.start_ms)[:MAX_BARS]
    rows = _rows(shown)
    end_ms = max((activity.end_ms for activity in shown), default=0.0) or 1.0
    names, color_of = _route_colors(plan)
    for activity in shown:
        width_ms = activity.end_ms - activity.start_ms
        if width_ms <= 0:
            continue
        color = color_of[activity.stream, _route_place(plan, activity)]
        row, sends = rows[_row(activity)], activity.operation.work is Work.SEND
        rows_of_tile = activity.operation.rows
        roomy = rows_of_tile is not None and width_ms > end_ms * _TILE_LABELLED_SHARE
        label = (
            f"{activity.request}: {rows_of_tile[0]}-{rows_of_tile[1]}" if roomy and rows_of_tile else activity.request
        )
        wide = width_ms > end_ms * _LABELLED_SHARE
        axes.barh(
            row,
            width_ms,
            left=activity.start_ms,
            height=0.72,
            color=color,
            alpha=0.55 if sends else 1.0,
            edgecolor="white" if width_ms > end_ms * _EDGED_SHARE else color,
            linewidth=0.6,
            hatch="////" if sends else None,
        )
        if wide:
            axes.text(
                activity.start_ms + width_ms / 2,
                row,
                str(label),
                ha="center",
                va="center",
                fontsize=7.5,
                color=_INK if sends else "white",
            )
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, end_ms)
    rows_told = "; with tiles: rows" if any(activity.operation.rows for activity in shown) else ""
    axes.set_xlabel(
        f"time since the start of the burst (ms); numbers are requests, hatched bars are transfers{rows_told}"
    )
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    count = len(timeline.requests)
    unfinished = sum(not request.finished for request in timeline.requests)
    clipped = f", the first {MAX_BARS} steps" if len(timeline.activities) > len(shown) else ""
    axes.set_title(
        f"{plan.strategy} for {plan.objective.value}: {count} request{'s' if count > 1 else ''}{clipped}, "
        + (f"the last ends after {timeline.makespan_ms:.4g} ms" if unfinished == 0 else f"{unfinished} never end")
    )
    keys = [Patch(color=color_of[key], label=_wrapped(name)) for key, name in names.items()][:MAX_CURVES]
    axes.legend(handles=keys, title="route", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)


def _envelope(axes: Axes, problem: Problem, envelope: Envelope, plan: Plan) -> None:
    """Draw latency over bandwidth of every candidate, the envelope below them, and the thresholds."""
    stream, (sender, receiver) = envelope.stream, envelope.ends
    bandwidth = np.unique(
        np.append(np.geomspace(envelope.low_mbps, envelope.high_mbps, _SAMPLES), envelope.thresholds_mbps)
    )
    bandwidth = bandwidth[(bandwidth >= envelope.low_mbps) & (bandwidth <= envelope.high_mbps)]
    curves = {
        route: np.array([latency_at_ms(problem, stream, route, envelope.ends, x) for x in bandwidth])
        for route in _most_interesting(problem, envelope)
    }
    fastest_ms = np.min(np.stack(list(curves.values())), axis=0)
    low_ms, high_ms = float(fastest_ms.min()) * 0.75, float(fastest_ms.max()) * 2.2
    visible = [route for route, latency_ms in curves.items() if latency_ms.min() < high_ms]
    for route, color in _curve_colors(plan, stream.name, visible).items():
        axes.plot(bandwidth, curves[route], color=color, linewidth=1.4, label=_wrapped(route_text(route)))
    axes.plot(bandwidth, fastest_ms, color=_INK, linewidth=5, alpha=0.25, zorder=0, label="lower envelope (fastest)")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(low_ms, high_ms)
    axes.set_xlim(envelope.low_mbps, envelope.high_mbps)
    for threshold in envelope.thresholds_mbps:
        if envelope.low_mbps <= threshold <= envelope.high_mbps:
            axes.axvline(threshold, color=_INK, linewidth=0.9, linestyle="--")
            _mark(axes, threshold, f"{threshold:.3g}", "bottom")
    axes.axvline(envelope.now_mbps, color="#cc3311", linewidth=1.4)
    _mark(axes, envelope.now_mbps, f"now {envelope.now_mbps:.3g}", "top")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"bandwidth {sender} - {receiver} (Mbps, dashed: another route becomes the fastest)")
    axes.set_ylabel("latency of one request (ms)")
    axes.set_title(f"stream {stream.name}: routes over the bandwidth of its most critical link")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)


def _mark(axes: Axes, x: float, text: str, where: str) -> None:
    """Write beside a vertical line: right of it at the bottom of the axes, left of it at the top."""
    height, vertical, horizontal = (0.98, "top", "right") if where == "top" else (0.03, "bottom", "left")
    axes.annotate(
        text,
        (x, height),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4 if where == "top" else 4, 0),
        textcoords="offset points",
        va=vertical,
        ha=horizontal,
        fontsize=8,
        color=_INK,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
    )


def _most_interesting(problem: Problem, envelope: Envelope) -> Sequence[Route]:
    """Return the routes of the envelope, then the fastest of the others at the present bandwidth."""
    leading = list(dict.fromkeys(piece.route for piece in envelope.ranges))[:MAX_CURVES]
    others = [route for route in envelope.candidates if route not in leading]
    others.sort(key=lambda route: latency_at_ms(problem, envelope.stream, route, envelope.ends, envelope.now_mbps))
    return [*leading, *others][:MAX_CURVES]


def _routes_of(answers: Mapping[str, Plan | Infeasible], stream: str) -> list[Route]:
    return [
        route
        for answer in answers.values()
        if isinstance(answer, Plan)
        for route in answer.streams[stream].routes
        if all(len(stage.tiles) == 1 for stage in route.stages)
    ]


def _rows(activities: Sequence[Activity]) -> dict[str, int]:
    """Return a row per device, then per link of it; devices in the order in which they are first used."""
    ordered = sorted(activities, key=lambda activity: activity.start_ms)
    devices = {name: place for place, name in enumerate(dict.fromkeys(own.operation.device for own in ordered))}
    ordered.sort(key=lambda own: (devices[own.operation.device], own.operation.target is not None))
    return {row: number for number, row in enumerate(dict.fromkeys(_row(activity) for activity in ordered))}


def _row(activity: Activity) -> str:
    operation = activity.operation
    return operation.device if operation.target is None else f"{operation.device} → {operation.target}"


def _route_colors(plan: Plan) -> tuple[dict[tuple[str, int], str], dict[tuple[str, int], str]]:
    """Return names and colours by (stream, place of the route)."""
    names: dict[tuple[str, int], str] = {}
    for stream, stream_plan in plan.streams.items():
        prefix = f"{stream}: " if len(plan.streams) > 1 else ""
        for place, route in enumerate(stream_plan.routes):
            jobs = f"{route.jobs} x " if len(stream_plan.routes) > 1 else ""
            names[stream, place] = f"{prefix}{jobs}{route_text(route)}"
    return names, {key: _COLORS[number % len(_COLORS)] for number, key in enumerate(names)}


def _wrapped(route: str) -> str:
    """Break a long route behind its stages and between its tiles, so that a legend leaves room for the chart."""
    if len(route) <= _LEGEND_COLUMNS:
        return route
    lines = []
    for number, stage in enumerate(route.split(" > ")):
        text = stage if number == 0 else f"> {stage}"
        lines += textwrap.wrap(
            text.replace("+", " +"), _LEGEND_COLUMNS, subsequent_indent="   ", break_on_hyphens=False
        )
    return "\n".join(lines)


def _curve_colors(plan: Plan, stream: str, routes: Sequence[Route]) -> dict[Route, str]:
    """Return a colour per curve: that of the Gantt chart if the plan takes the route, otherwise one of the others."""
    _, taken = _route_colors(plan)
    planned = {route.stages: taken[stream, place] for place, route in enumerate(plan.streams[stream].routes)}
    free = cycle([color for color in _COLORS if color not in planned.values()] or _COLORS)
    return {route: planned.get(route.stages) or next(free) for route in routes}


def _route_place(plan: Plan, activity: Activity) -> int:
    """Return the place of the route that a request takes in its stream's plan."""
    stream_plan = plan.streams[activity.stream]
    position = stream_plan.order[activity.request % len(stream_plan.order)]
    for place, route in enumerate(stream_plan.routes):
        position -= route.jobs
        if position < 0:
            return place
    raise ValueError(f"request {activity.request} of stream {activity.stream} has no route")
