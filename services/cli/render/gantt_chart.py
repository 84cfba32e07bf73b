"""The Gantt chart of a simulated plan: one row per device and link, one bar per operation."""

from collections.abc import Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from planning.problem.plan import Plan
from planning.queueing.operations import Work
from planning.simulation.simulation import Activity, Timeline
from services.cli.render.chart_style import INK, MAX_CURVES, RouteKey, route_colors, route_names, wrapped_route

MAX_BARS: Final = 1000

# Shares of the time axis from which on a bar is wide enough for its number, for the rows of its tile, for an edge.
_LABELLED_SHARE: Final = 0.025
_TILE_LABELLED_SHARE: Final = 0.08
_EDGED_SHARE: Final = 0.008


def gantt_height_in(timeline: Timeline) -> float:
    """Return the height of the chart in inches."""
    return 1.1 + 0.34 * len(_rows(timeline.activities))


def draw_gantt_chart(axes: Axes, plan: Plan, timeline: Timeline) -> None:
    """Draw the first `MAX_BARS` operations in the colours of their routes, tiles with their rows."""
    shown = sorted(timeline.activities, key=lambda activity: activity.start_ms)[:MAX_BARS]
    rows = _rows(shown)
    end_ms = max((activity.end_ms for activity in shown), default=0.0) or 1.0
    colors = route_colors(plan)
    for activity in shown:
        if activity.end_ms > activity.start_ms:
            _draw_bar(axes, activity, rows[_row(activity)], colors[_route_key(plan, activity)], end_ms)
    _label_axes(axes, shown, rows, end_ms)
    axes.set_title(_title(plan, timeline, len(shown)))
    keys = [Patch(color=colors[key], label=wrapped_route(name)) for key, name in route_names(plan).items()][:MAX_CURVES]
    axes.legend(handles=keys, title="route", loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)


def _draw_bar(axes: Axes, activity: Activity, row: int, color: str, end_ms: float) -> None:
    width_ms = activity.end_ms - activity.start_ms
    sends = activity.operation.work is Work.SEND
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
    if width_ms > end_ms * _LABELLED_SHARE:
        axes.text(
            activity.start_ms + width_ms / 2,
            row,
            _bar_label(activity, has_space=width_ms > end_ms * _TILE_LABELLED_SHARE),
            ha="center",
            va="center",
            fontsize=7.5,
            color=INK if sends else "white",
        )


def _bar_label(activity: Activity, *, has_space: bool) -> str:
    rows = activity.operation.rows
    return f"{activity.request}: {rows[0]}-{rows[1]}" if has_space and rows is not None else str(activity.request)


def _label_axes(axes: Axes, shown: Sequence[Activity], rows: dict[str, int], end_ms: float) -> None:
    axes.set_yticks(list(rows.values()), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, end_ms)
    of_tiles = "; with tiles: rows" if any(activity.operation.rows for activity in shown) else ""
    axes.set_xlabel(
        f"time since the start of the burst (ms); numbers are requests, hatched bars are transfers{of_tiles}"
    )
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def _title(plan: Plan, timeline: Timeline, shown: int) -> str:
    count = len(timeline.requests)
    unfinished = sum(not request.finished for request in timeline.requests)
    clipped = f", the first {MAX_BARS} steps" if len(timeline.activities) > shown else ""
    end = f"the last ends after {timeline.makespan_ms:.4g} ms" if unfinished == 0 else f"{unfinished} never end"
    return f"{plan.strategy} for {plan.objective.value}: {count} request{'s' if count > 1 else ''}{clipped}, {end}"


def _rows(activities: Sequence[Activity]) -> dict[str, int]:
    """Return a row per device, followed by its links; devices in the order of their first use."""
    ordered = sorted(activities, key=lambda activity: activity.start_ms)
    devices = {name: place for place, name in enumerate(dict.fromkeys(own.operation.device for own in ordered))}
    ordered.sort(key=lambda own: (devices[own.operation.device], own.operation.target is not None))
    return {row: number for number, row in enumerate(dict.fromkeys(_row(activity) for activity in ordered))}


def _row(activity: Activity) -> str:
    operation = activity.operation
    return operation.device if operation.target is None else f"{operation.device} → {operation.target}"


def _route_key(plan: Plan, activity: Activity) -> RouteKey:
    """Return the route of a request.

    Raises:
        ValueError: the plan has no route for it.
    """
    # A burst has `len(order)` requests. `order` maps each to a position, and each route takes the next `jobs` of them.
    stream_plan = plan.streams[activity.stream]
    position = stream_plan.order[activity.request % len(stream_plan.order)]
    for place, route in enumerate(stream_plan.routes):
        position -= route.jobs
        if position < 0:
            return activity.stream, place
    raise ValueError(f"request {activity.request} of stream {activity.stream} has no route")
