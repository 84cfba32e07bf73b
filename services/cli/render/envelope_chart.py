"""The envelope chart of a stream: latency of its candidate routes over the bandwidth of its most critical link."""

from collections.abc import Sequence
from itertools import cycle
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from planning.problem.plan import Plan, Route
from planning.problem.problem import Problem
from planning.sensitivity.envelope import Envelope, latency_at_ms
from services.cli.render.chart_style import COLORS, INK, MAX_CURVES, route_colors, wrapped_route
from services.cli.render.route_text import planned_route_text

_SAMPLES: Final = 200
_NOW_COLOR: Final = "#cc3311"

# Range of the latency axis as multiples of the lower envelope's smallest and largest value. Slower routes are cut off.
_BELOW_ENVELOPE: Final = 0.75
_ABOVE_ENVELOPE: Final = 2.2


def draw_envelope_chart(axes: Axes, problem: Problem, envelope: Envelope, plan: Plan) -> None:
    """Draw the latency of every candidate over bandwidth, the lower envelope, and the thresholds between routes."""
    bandwidth_mbps = _bandwidths_mbps(envelope)
    curves = {
        route: np.array([latency_at_ms(problem, envelope.stream, route, envelope.ends, x) for x in bandwidth_mbps])
        for route in _shown_routes(problem, envelope)
    }
    fastest_ms = np.min(np.stack(list(curves.values())), axis=0)
    low_ms, high_ms = float(fastest_ms.min()) * _BELOW_ENVELOPE, float(fastest_ms.max()) * _ABOVE_ENVELOPE
    visible = [route for route, latency_ms in curves.items() if latency_ms.min() < high_ms]
    for route, color in _curve_colors(plan, envelope.stream.name, visible).items():
        label = wrapped_route(planned_route_text(route))
        axes.plot(bandwidth_mbps, curves[route], color=color, linewidth=1.4, label=label)
    label = "lower envelope (fastest)"
    axes.plot(bandwidth_mbps, fastest_ms, color=INK, linewidth=5, alpha=0.25, zorder=0, label=label)
    _scale_axes(axes, envelope, low_ms, high_ms)
    _draw_thresholds(axes, envelope)
    sender, receiver = envelope.ends
    axes.set_xlabel(f"bandwidth {sender} - {receiver} (Mbps, dashed: another route becomes the fastest)")
    axes.set_ylabel("latency of one request (ms)")
    axes.set_title(f"stream {envelope.stream.name}: routes over the bandwidth of its most critical link")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)


def _bandwidths_mbps(envelope: Envelope) -> NDArray[np.float64]:
    """Return the sampled bandwidths, the thresholds among them, so that kinks are drawn where they are."""
    samples = np.geomspace(envelope.low_mbps, envelope.high_mbps, _SAMPLES)
    with_thresholds = np.unique(np.append(samples, envelope.thresholds_mbps))
    return with_thresholds[(with_thresholds >= envelope.low_mbps) & (with_thresholds <= envelope.high_mbps)]


def _scale_axes(axes: Axes, envelope: Envelope, low_ms: float, high_ms: float) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(low_ms, high_ms)
    axes.set_xlim(envelope.low_mbps, envelope.high_mbps)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _draw_thresholds(axes: Axes, envelope: Envelope) -> None:
    for threshold_mbps in envelope.thresholds_mbps:
        if envelope.low_mbps <= threshold_mbps <= envelope.high_mbps:
            axes.axvline(threshold_mbps, color=INK, linewidth=0.9, linestyle="--")
            _mark(axes, threshold_mbps, f"{threshold_mbps:.3g}", "bottom")
    axes.axvline(envelope.now_mbps, color=_NOW_COLOR, linewidth=1.4)
    _mark(axes, envelope.now_mbps, f"now {envelope.now_mbps:.3g}", "top")


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
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
    )


def _shown_routes(problem: Problem, envelope: Envelope) -> Sequence[Route]:
    """Return the routes of the lower envelope, then the fastest others at the present bandwidth."""
    leading = list(dict.fromkeys(piece.route for piece in envelope.ranges))[:MAX_CURVES]
    others = [route for route in envelope.candidates if route not in leading]
    others.sort(key=lambda route: latency_at_ms(problem, envelope.stream, route, envelope.ends, envelope.now_mbps))
    return [*leading, *others][:MAX_CURVES]


def _curve_colors(plan: Plan, stream: str, routes: Sequence[Route]) -> dict[Route, str]:
    """Return a colour per curve: the Gantt chart's for a route of the plan, otherwise an unused one."""
    taken = route_colors(plan)
    planned = {route.stages: taken[stream, place] for place, route in enumerate(plan.streams[stream].routes)}
    free = cycle([color for color in COLORS if color not in planned.values()] or COLORS)
    return {route: planned.get(route.stages) or next(free) for route in routes}
