"""The summary of a run as tables for people."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from services.cli.fleet.baselines import Alternative
from services.cli.fleet.summary import PhaseSummary, Summary

_LEGEND = (
    "p50 and p95 are measured; settled is the p50 after the last reroute of the phase. The predicted columns\n"
    "come from the cost model under the phase's true conditions: the route in use; the best single device, chosen\n"
    "in hindsight for the phase (the request travels as it is); the best plan that never changes and can always\n"
    "run; and the first plan kept."
)


def render(summary: Summary) -> RenderableType:
    """Lay the summary out: phases, reroutes, the count of requests, and what went wrong."""
    parts: list[RenderableType] = [_phase_table(summary), Text()]
    if summary.reroutes:
        parts += [_reroute_table(summary), Text()]
    parts.append(_verdict(summary))
    return Group(*parts)


def print_summary(console: Console, summary: Summary) -> None:
    """Print the summary."""
    console.print()
    console.print(render(summary))


def _phase_table(summary: Summary) -> Table:
    size = "" if summary.input_bytes is None else f" (requests are photographs of {summary.input_bytes / 1000:.0f} kB)"
    table = Table(
        title=f"Phase by phase: latency in ms{size}",
        title_justify="left",
        caption=_LEGEND,
        caption_justify="left",
    )
    for heading in ("phase", "condition", "route at the end"):
        table.add_column(heading, overflow="fold")
    for heading in ("p50", "p95", "settled"):
        table.add_column(heading, justify="right")
    for heading in ("route\npredicted", "best single\npredicted", "best fixed\npredicted", "first kept\npredicted"):
        table.add_column(heading, justify="right", overflow="fold")
    for phase in summary.phases:
        table.add_row(*_phase_cells(phase))
    return table


def _phase_cells(phase: PhaseSummary) -> tuple[str, ...]:
    return (
        phase.name,
        phase.condition,
        phase.route.replace(" > ", "\n> "),
        _ms(phase.latency.p50),
        _ms(phase.latency.p95),
        _ms(phase.settled.p50),
        _ms(phase.predicted_ms),
        _alternative(phase.single),
        _alternative(phase.fixed),
        _alternative(phase.held),
    )


def _reroute_table(summary: Summary) -> Table:
    table = Table(title="Reroutes", title_justify="left")
    for heading in ("phase", "why", "from", "to"):
        table.add_column(heading, overflow="fold")
    for heading in ("predicted ms\nbefore > after", "measured ms\nbefore > after", "reaction\nms"):
        table.add_column(heading, justify="right")
    for reroute in summary.reroutes:
        table.add_row(
            reroute.phase,
            reroute.reason,
            reroute.previous.replace(" > ", "\n> "),
            reroute.chosen.replace(" > ", "\n> "),
            " > ".join(map(_ms, reroute.predicted_ms)),
            " > ".join(map(_ms, reroute.measured_ms)),
            _ms(reroute.reaction_ms),
        )
    return table


def _verdict(summary: Summary) -> Text:
    text = Text()
    text.append(
        f"{summary.requests} requests: {summary.results} results, {summary.errors} errors, {summary.lost} lost, "
        f"{summary.duplicates} duplicates, {summary.mismatches} differ from the whole model. "
        f"Latency p50 {_ms(summary.latency.p50)} ms, p95 {_ms(summary.latency.p95)} ms.\n"
    )
    if summary.problems:
        for problem in summary.problems:
            text.append(f"problem: {problem}\n", style="bold red")
    else:
        text.append("Every request has exactly one outcome, and every result is the whole model's.", style="bold green")
    return text


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _alternative(alternative: Alternative | None) -> str:
    if alternative is None:
        return "-"
    if alternative.predicted_ms is None:
        return "cannot run"
    devices = " > ".join(stage.split("[")[0] for stage in alternative.route.split(" > "))
    return f"{alternative.predicted_ms:.0f}\n{devices}"
