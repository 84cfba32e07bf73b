"""The summary of a run as tables for people."""

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.testbed.baselines import Alternative
from services.cli.testbed.run_summary import PhaseSummary, Summary

_LEGEND = (
    "Measured: p50, p95, and settled, the p50 after the last reroute of the phase. Predicted by the cost model under "
    "the phase's true conditions: the route at its end; the best single device, chosen in hindsight for the phase (the "
    "request travels as it is, a JPEG say); the best plan that never changes and can always run; the first plan kept."
)


def render(summary: Summary) -> RenderableType:
    """Lay the summary out: phases, reroutes, the count of requests, and what went wrong."""
    parts: list[RenderableType] = [_phase_table(summary), Text(_LEGEND, style="dim"), Text()]
    if summary.reroutes:
        parts += [_reroutes(summary)]
    parts.append(_verdict(summary))
    return Group(*parts)


def print_summary(console: Console, summary: Summary) -> None:
    """Print the summary."""
    console.print()
    console.print(render(summary))


def _phase_table(summary: Summary) -> Table:
    size = "" if summary.input_bytes is None else f", requests of {summary.input_bytes / 1000:.0f} kB"
    table = Table(
        title=f"Latency in ms, phase by phase{size}",
        title_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column("phase, condition,\nroute at its end", ratio=1, overflow="fold")
    for heading in ("p50", "p95", "settled", "route", "best\nsingle", "best\nfixed", "first\nkept"):
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
        _alternative(phase.single),
        _alternative(phase.fixed),
        _alternative(phase.held),
    )


def _reroutes(summary: Summary) -> RenderableType:
    text = Text("Reroutes\n", style="italic")
    for reroute in summary.reroutes:
        text.append(f"{reroute.phase}: ", style="not italic bold")
        text.append(f"{reroute.reason}\n", style="not italic")
        text.append(f"    {reroute.previous}  ->  {reroute.chosen}\n", style="not italic cyan")
        text.append(
            f"    predicted {_change(reroute.predicted_ms)} ms, measured {_change(reroute.measured_ms)} ms\n"
            f"    first request on the new route after {_ms(reroute.reaction_ms)} ms\n",
            style="not italic dim",
        )
    return text


def _verdict(summary: Summary) -> Text:
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
        text.append(f"Every request has exactly one outcome, and {_same(summary)}.", style="bold green")
    return text


def _same(summary: Summary) -> str:
    """Say in what results are the whole model's: number by number, or the answer where encodings change numbers."""
    if not summary.encoded:
        return "every result is the whole model's"
    kept = summary.encoded - summary.encoded_mismatches
    return (
        f"every result is the whole model's; of {summary.encoded} whose feature maps travelled in a lossy encoding, "
        f"{kept} have its answer (the best class; else numbers within 5 %)"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _change(values: tuple[float | None, float | None]) -> str:
    before, after = values
    return f"{'(impossible)' if before is None else _ms(before)} -> {_ms(after)}"


def _alternative(alternative: Alternative | None) -> str:
    if alternative is None:
        return "-"
    if alternative.predicted_ms is None:
        return "cannot run"
    devices = "\n> ".join(stage.split("[")[0] for stage in alternative.route.split(" > "))
    return f"{alternative.predicted_ms:.0f}\n{devices}"
