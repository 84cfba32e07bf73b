"""The envelope chart of a stream."""

from matplotlib.figure import Figure

from planning.files.problem_file import read_problem
from planning.problem.plan import Plan
from planning.sensitivity.envelope import critical_envelope
from planning.strategies.registry import strategies
from services.cli.render.chart_style import MAX_CURVES
from services.cli.render.envelope_chart import draw_envelope_chart
from tests.support.shared_paths import INSTANCES


def test_curves_thresholds_and_the_present_bandwidth_are_drawn() -> None:
    problem = read_problem((INSTANCES / "alexnet_pi_cloud_wifi.json").read_bytes())
    plan = strategies()["shortest_path"].solve(problem, seed=0, time_budget_s=0.1)
    assert isinstance(plan, Plan)
    (stream,) = problem.streams
    envelope = critical_envelope(problem, stream, plan.streams[stream.name].routes)
    assert envelope is not None
    axes = Figure().subplots()
    draw_envelope_chart(axes, problem, envelope, plan)
    labels = [str(line.get_label()) for line in axes.get_lines()]
    assert "lower envelope (fastest)" in labels
    assert 1 < sum(label.startswith("[0,") for label in labels) <= MAX_CURVES
    shown = [text.get_text() for text in axes.texts]
    assert f"now {envelope.now_mbps:.3g}" in shown
    inside = [x for x in envelope.thresholds_mbps if envelope.low_mbps <= x <= envelope.high_mbps]
    assert {f"{x:.3g}" for x in inside} <= set(shown)
