"""Colours, fonts and labels that the charts of a decision share."""

import textwrap
from contextlib import AbstractContextManager
from typing import Final

import matplotlib

from planning.problem.plan import Plan
from services.cli.render.route_text import planned_route_text

# Most routes in one legend.
MAX_CURVES: Final = 7
COLORS: Final = ("#4477aa", "#d6404f", "#228833", "#b8860b", "#1198b0", "#aa3377", "#5a4fcf", "#8c564b", "#777777")
INK: Final = "#222222"
_LEGEND_COLUMNS: Final = 36

# A route of a plan: the stream's name and the route's place in its plan.
RouteKey = tuple[str, int]


def chart_style() -> AbstractContextManager[None]:
    """Return a context in which matplotlib uses the style of these charts."""
    return matplotlib.rc_context(
        {
            "font.size": 9,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            # Text stays text in SVG, and ids do not change from one run to the next.
            "svg.fonttype": "none",
            "svg.hashsalt": "segue",
        }
    )


def route_names(plan: Plan) -> dict[RouteKey, str]:
    """Return the text of every route, with its stream and its number of jobs if there are several."""
    names: dict[RouteKey, str] = {}
    for stream, stream_plan in plan.streams.items():
        prefix = f"{stream}: " if len(plan.streams) > 1 else ""
        for place, route in enumerate(stream_plan.routes):
            jobs = f"{route.jobs} x " if len(stream_plan.routes) > 1 else ""
            names[stream, place] = f"{prefix}{jobs}{planned_route_text(route)}"
    return names


def route_colors(plan: Plan) -> dict[RouteKey, str]:
    """Return a colour per route; they repeat if there are more routes than colours."""
    return {key: COLORS[number % len(COLORS)] for number, key in enumerate(route_names(plan))}


def wrapped_route(text: str) -> str:
    """Return the text of a long route broken after stages and between tiles, so that it fits into a legend."""
    if len(text) <= _LEGEND_COLUMNS:
        return text
    lines = []
    for number, stage in enumerate(text.split(" > ")):
        line = stage if number == 0 else f"> {stage}"
        lines += textwrap.wrap(
            line.replace("+", " +"), _LEGEND_COLUMNS, subsequent_indent="   ", break_on_hyphens=False
        )
    return "\n".join(lines)
