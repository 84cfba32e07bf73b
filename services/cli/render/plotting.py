"""Pictures of a decision: the Gantt chart of the plan, and the envelope of the candidate routes.

Imported on demand only: matplotlib belongs to the extra `plot`.
"""

import html
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from planning.problem.plan import Infeasible, Plan, Route
from planning.problem.problem import Problem
from planning.sensitivity.envelope import critical_envelope
from planning.simulation.simulation import Timeline, simulate
from services.cli.render.chart_style import chart_style
from services.cli.render.envelope_chart import draw_envelope_chart
from services.cli.render.gantt_chart import draw_gantt_chart, gantt_height_in

MAX_ENVELOPES: Final = 3
_WIDTH_IN: Final = 11.0
_ENVELOPE_HEIGHT_IN: Final = 3.4
_MARGIN_IN: Final = 0.5


def decision_figure(problem: Problem, plan: Plan, answers: Mapping[str, Plan | Infeasible], seed: int) -> Figure:
    """Return the plan's Gantt chart, and below it the envelopes of the first streams.

    Args:
        problem: the problem.
        plan: the chosen plan; its burst is simulated.
        answers: the answers of all strategies; their routes are the candidates of the envelopes.
        seed: of the simulation.
    """
    timeline = simulate(problem, plan, seed=seed)
    envelopes = [
        envelope
        for stream in problem.streams[:MAX_ENVELOPES]
        if (envelope := critical_envelope(problem, stream, _untiled_routes(answers, stream.name))) is not None
    ]
    heights = [gantt_height_in(timeline), *(_ENVELOPE_HEIGHT_IN for _ in envelopes)]
    with chart_style():
        figure = Figure(figsize=(_WIDTH_IN, sum(heights) + _MARGIN_IN), layout="constrained")
        axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        draw_gantt_chart(axes[0], plan, timeline)
        for place, envelope in zip(axes[1:], envelopes, strict=True):
            draw_envelope_chart(place, problem, envelope, plan)
    return figure


def gantt_figure(plan: Plan, timeline: Timeline) -> Figure:
    """Return the Gantt chart of a simulation alone."""
    with chart_style():
        figure = Figure(figsize=(_WIDTH_IN, gantt_height_in(timeline) + _MARGIN_IN), layout="constrained")
        draw_gantt_chart(figure.subplots(), plan, timeline)
    return figure


def write_figure(figure: Figure, path: Path, title: str, text: str) -> None:
    """Write a figure as .png or .svg, or as an .html page with ``text`` below it.

    Raises:
        OSError: the file cannot be written.
    """
    form = path.suffix.lower().removeprefix(".")
    buffer = io.BytesIO()
    with chart_style():
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


def _untiled_routes(answers: Mapping[str, Plan | Infeasible], stream: str) -> list[Route]:
    return [
        route
        for answer in answers.values()
        if isinstance(answer, Plan)
        for route in answer.streams[stream].routes
        if all(len(stage.tiles) == 1 for stage in route.stages)
    ]
