"""The Gantt chart of a simulated plan."""

from dataclasses import replace

from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.simulation.simulation import Timeline, simulate
from planning.strategies.registry import strategies
from services.cli.render.gantt_chart import MAX_BARS, gantt_height_in
from services.cli.render.plotting import gantt_figure
from tests.support.shared_paths import INSTANCES

PROBLEM = read_problem((INSTANCES / "alexnet_burst_4g.json").read_bytes())


def burst(jobs: int) -> tuple[Plan, Timeline]:
    problem = replace(PROBLEM, streams=(replace(PROBLEM.streams[0], jobs=jobs),))
    plan = strategies()["jps"].solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(plan, Plan)
    return plan, simulate(problem, plan, seed=0)


def test_long_bursts_are_clipped() -> None:
    figure = gantt_figure(*burst(MAX_BARS))
    assert f"the first {MAX_BARS} steps" in figure.axes[0].get_title(loc="left")
    assert len(figure.axes[0].patches) <= MAX_BARS


def test_devices_and_links_have_rows_and_routes_have_keys() -> None:
    plan, timeline = burst(4)
    (axes,) = gantt_figure(plan, timeline).axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert set(PROBLEM.devices) <= set(rows)
    assert any("→" in row for row in rows)
    assert gantt_height_in(timeline) > 0.34 * len(rows)
    legend = axes.get_legend()
    assert legend is not None
    assert len(legend.get_texts()) == len(next(iter(plan.streams.values())).routes)
