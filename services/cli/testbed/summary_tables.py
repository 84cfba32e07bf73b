"""The summary of a run as tables and text."""

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.testbed.baselines import BaselinePlan
from services.cli.testbed.run_summary import PhaseSummary, RunSummary

_LEGEND: Final = """\
Measured:
  p50, p95     all requests of the phase
  settled      p50 after the last reroute of the phase
Predicted by the cost model, for the true conditions of the phase:
  chosen       the route at the end of the phase
  best single  the best device alone; it receives the payload itself (a JPEG)
  best fixed   the best plan that never changes and runs in every phase
  first kept   the plan of the first phase, never changed"""

_MOST_PREDICTIONS: Final = 20


def summary_view(summary: RunSummary) -> RenderableType:
    """Return the summary: phases, reroutes, counts of requests, and faults."""
    parts: list[RenderableType] = [_phase_table(summary), Text(_LEGEND, style="dim"), Text()]
    if summary.reroutes:
        parts.append(_reroutes(summary))
    if summary.predictions:
        parts.append(_predictions(summary))
    parts.append(_counts(summary))
    return Group(*parts)


def print_summary(console: Console, summary: RunSummary) -> None:
    """Print the summary."""
    console.print()
    console.print(summary_view(summary))


def _phase_table(summary: RunSummary) -> Table:
    size = "" if summary.input_bytes is None else f", requests of {summary.input_bytes / 1000:.0f} kB"
    table = Table(
        title=f"Latency in ms by phase{size}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("phase, condition,\nroute at its end", ratio=1, overflow="fold")
    for heading in ("p50", "p95", "settled", "chosen", "best\nsingle", "best\nfixed", "first\nkept"):
        table.add_column(heading, justify="right", overflow="fold")
    for phase in summary.phases:
        table.add_row(*_phase_cells(phase))
    return table


def _phase_cells(phase: PhaseSummary) -> tuple[RenderableType, ...]:
    lines = ((phase.name, "bold"), "\n", (phase.condition, "dim"), "\n", (phase.route, "cyan"), "\n")
    return (
        Text.assemble(*lines),
        _ms(phase.latency.p50),
        _ms(phase.latency.p95),
        _ms(phase.settled.p50),
        _ms(phase.predicted_ms),
        _baseline(phase.single),
        _baseline(phase.fixed),
        _baseline(phase.first),
    )


def _reroutes(summary: RunSummary) -> RenderableType:
    text = Text("Reroutes\n", style="italic")
    for reroute in summary.reroutes:
        text.append(f"{reroute.phase}: ", style="not italic bold")
        text.append(f"{reroute.reason}\n", style="not italic")
        text.append(f"    {reroute.previous}  ->  {reroute.chosen}\n", style="not italic cyan")
        text.append(
            f"    latency predicted {_change(reroute.predicted_ms)} ms, measured {_change(reroute.measured_ms)} ms\n"
            f"    first request on the new route after {_ms(reroute.reaction_ms)} ms\n",
            style="not italic dim",
        )
    return text


def _predictions(summary: RunSummary) -> RenderableType:
    text = Text("Predictions\n", style="italic")
    for prediction in summary.predictions[:_MOST_PREDICTIONS]:
        classes = ", ".join(f"{score.label} {score.score:.2f}" for score in prediction.top[:3])
        text.append(f"{prediction.file}: ", style="not italic bold")
        text.append(f"{classes}\n", style="not italic")
    if len(summary.predictions) > _MOST_PREDICTIONS:
        text.append(f"and {len(summary.predictions) - _MOST_PREDICTIONS} more\n", style="not italic")
    return text


def _counts(summary: RunSummary) -> Text:
    text = Text()
    text.append(
        f"{summary.requests} requests: {summary.results} results, {summary.errors} errors, {summary.lost} lost, "
        f"{summary.duplicates} duplicates, {summary.mismatches} differ from the whole model.\n"
        f"Latency p50 {_ms(summary.latency.p50)} ms, p95 {_ms(summary.latency.p95)} ms.\n"
    )
    if summary.problems:
        for problem in summary.problems:
            text.append(f"problem: {problem}\n", style="bold red")
    else:
        text.append(f"Every request has exactly one outcome. {_agreement(summary)}", style="bold green")
    return text


def _agreement(summary: RunSummary) -> str:
    if not summary.encoded:
        return "Every result equals the whole model's."
    same = summary.encoded - summary.encoded_mismatches
    return (
        f"Every result agrees with the whole model's. Of {summary.encoded} results from lossy encodings of feature "
        f"maps, {same} have the same best class (or numbers within 5 %, for models without classes)."
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _change(values: tuple[float | None, float | None]) -> str:
    before, after = values
    return f"{'(impossible)' if before is None else _ms(before)} -> {_ms(after)}"


def _baseline(plan: BaselinePlan | None) -> str:
    if plan is None:
        return "-"
    if plan.predicted_ms is None:
        return "cannot run"
    # Devices only, one a line: whole stages would not fit into a terminal of 80 columns.
    devices = "\n> ".join(stage.split("[")[0] for stage in plan.route.split(" > "))
    return f"{plan.predicted_ms:.0f}\n{devices}"
