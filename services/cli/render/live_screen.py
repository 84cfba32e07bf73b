"""A live screen of a fleet: devices, links, present routes, latencies, predictions and events."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from planning.problem.plan import RAW
from services.cli.render.fleet_view import DeviceView, FleetView, StreamView
from shared.messages.devices import LinkEstimate, State
from shared.messages.events import Event, EventKind
from shared.messages.streams import CommittedPlan, PlanStage
from shared.transport_mode import Carrier

_BARS: Final = "▁▂▃▄▅▆▇█"
_COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "red")
_SPARK_WIDTH: Final = 60
_EVENTS_SHOWN: Final = 8
_FRAME_LINES: Final = 2
_FRAME_COLUMNS: Final = 4
_STYLES: Final = {
    EventKind.REROUTE: "bold green",
    EventKind.DEVICE_LOST: "bold red",
    EventKind.DEVICE_BACK: "bold green",
    EventKind.REJECTION: "yellow",
    EventKind.INFEASIBLE: "bold red",
    EventKind.POLICY_REFUSED: "yellow",
    EventKind.REQUEST_FAILED: "red",
    EventKind.FAILURE: "red",
}


def fleet_screen(
    view: FleetView, now_s: float, heading: RenderableType | None = None, *, height: int | None = None
) -> RenderableType:
    """Return a layout of a fleet's state.

    Args:
        view: the state.
        now_s: wall clock.
        heading: shown on top.
        height: lines of the terminal; the newest events fill the lines that the rest leaves. None for no limit.
    """
    colours = device_colours(view.devices)
    parts: list[RenderableType] = [] if heading is None else [heading]
    parts.append(_devices(view, now_s, colours))
    parts += [_stream(view, stream, colours) for stream in view.streams.values() if stream.declaration is not None]
    return _Screen(Group(*parts), _events(list(view.events)[-_EVENTS_SHOWN:]), height)


@dataclass(frozen=True, slots=True)
class _Screen:
    """All panels, and below them as many lines of events as fit, the newest last."""

    upper: RenderableType
    events: RenderableType
    height: int | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Both parts are rendered first: a panel above may wrap, so its height is known only then.
        unlimited = options.update(height=None)
        above = console.render_lines(self.upper, unlimited, pad=False)
        within = console.render_lines(
            self.events, unlimited.update(width=options.max_width - _FRAME_COLUMNS), pad=False
        )
        if self.height is not None:
            free_lines = self.height - len(above) - _FRAME_LINES
            within = within[-free_lines:] if free_lines > 0 else []
        for line in above:
            yield from line
            yield Segment.line()
        if within:
            yield Panel(_Lines(within), title="events", title_align="left", height=len(within) + _FRAME_LINES)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of segments that are already rendered."""

    lines: Sequence[Sequence[Segment]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self.lines:
            yield from line
            yield Segment.line()


def device_colours(devices: Iterable[str]) -> dict[str, str]:
    """Return a colour per device; they repeat after six devices."""
    return {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(sorted(devices))}


def sparkline(values: Sequence[float]) -> str:
    """Return values as a line of bars, scaled from zero to the largest."""
    top = max(values, default=0.0)
    if top <= 0:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in values)


def event_line(event: Event) -> Text:
    """Return an event as one line."""
    return Text.assemble((f"{event.kind.value:<16}", _STYLES.get(event.kind, "dim")), " ", event.text)


def cut_bar(plan: CommittedPlan, colours: dict[str, str]) -> Text:
    """Return the route with the largest weight: one cell per block, in its device's colour; of tiles, one per tile."""
    route = max(plan.routes, key=lambda candidate: candidate.weight)
    text = Text()
    for index, stage in enumerate(route.stages):
        text.append(" -> " if index else "")
        if stage.tiles:
            _append_tiles(text, stage, colours)
        else:
            text.append(f"{stage.device} ", style=f"bold {colours.get(stage.device, 'white')}")
            text.append("█" * (stage.stop - stage.start), style=colours.get(stage.device, "white"))
        text.append(f" [{stage.start},{stage.stop})", style="dim")
        text.append("" if stage.codec == RAW else f" {stage.codec}", style="italic")
    return text


def _append_tiles(text: Text, stage: PlanStage, colours: dict[str, str]) -> None:
    """Append the tiles of a stage, each with its rows: ``a 0-28 █ + b 28-56 █``."""
    for index, tile in enumerate(stage.tiles):
        colour = colours.get(tile.device, "white")
        text.append(" + " if index else "")
        text.append(f"{tile.device} ", style=f"bold {colour}")
        text.append(f"{tile.rows[0]}-{tile.rows[1]} ", style="dim")
        text.append("█", style=colour)


def _devices(view: FleetView, now_s: float, colours: dict[str, str]) -> RenderableType:
    table = Table(expand=True, box=None, pad_edge=False)
    for heading in ("device", "executor", "load", "cpu", "memory", "last seen", "links as measured"):
        table.add_column(heading, header_style="dim")
    for name in sorted(view.devices):
        table.add_row(*_device_cells(view.devices[name], now_s, colours[name]))
    services = Text("services: ", style="dim")
    for service in sorted(view.services.values(), key=lambda service: service.name):
        online = service.state is State.ONLINE
        services.append(service.name if online else f"{service.name} DOWN", "green" if online else "bold red")
        services.append("  ")
    return Panel(Group(table, services), title="devices", title_align="left")


def _device_cells(device: DeviceView, now_s: float, colour: str) -> tuple[RenderableType, ...]:
    telemetry = device.telemetry
    links = () if device.links is None else device.links.links
    return (
        Text(device.name, style=f"bold {colour}"),
        Text("up", style="green") if device.is_online else Text("DOWN", style="bold red"),
        Text(f"x{device.load_factor:.1f}", style="bold yellow" if device.load_factor > 1.5 else ""),
        "-" if telemetry is None else f"{telemetry.cpu_percent:.0f} %",
        "-" if telemetry is None else f"{telemetry.memory_used_bytes / 2**20:.0f} MiB",
        "-" if device.telemetry_at_s is None else f"{max(0.0, now_s - device.telemetry_at_s):.0f} s ago",
        "   ".join(map(_link_text, links)) or "-",
    )


def _link_text(link: LinkEstimate) -> str:
    way = " direct" if link.transport is Carrier.DIRECT else ""
    if link.bandwidth_mbps <= 0:
        return f"{link.target}{way} down"
    return f"{link.target}{way} {link.bandwidth_mbps:.1f} Mbps {link.latency_ms:.0f} ms"


def _stream(view: FleetView, stream: StreamView, colours: dict[str, str]) -> RenderableType:
    lines: list[RenderableType] = []
    if stream.plan is not None:
        predicted = next((route.predicted_ms for route in stream.plan.routes if route.predicted_ms is not None), None)
        lines.append(cut_bar(stream.plan, colours))
        lines.append(
            Text(
                f"epoch {stream.plan.epoch}, {stream.plan.strategy}"
                + ("" if predicted is None else f", predicted {predicted:.0f} ms")
                + f": {stream.plan.reason}",
                style="dim",
            )
        )
        if stream.status is not None and stream.status.reasons:
            lines.append(Text("; ".join(stream.status.reasons), style="yellow"))
    elif stream.status is not None:
        lines.append(Text(f"{stream.status.state.value}: {'; '.join(stream.status.reasons)}", style="yellow"))
    recent = list(stream.latencies_ms)[-_SPARK_WIDTH:]
    if recent:
        lines.append(
            Text.assemble(
                (sparkline(recent), "cyan"),
                f"  last {recent[-1]:.0f} ms, median of {len(recent)}: {statistics.median(recent):.0f} ms, "
                f"{stream.results} results, {stream.errors} errors",
            )
        )
    if stream.last is not None:
        best = "   ".join(f"{score.label} {score.score:.2f}" for score in stream.last.top[:3])
        lines.append(Text(best or stream.last.error or "a result without labels", style="bold"))
    model = "" if stream.declaration is None else view.model_name(stream.declaration.model)
    return Panel(Group(*lines), title=Text(f"stream {stream.name}: {model}"), title_align="left")


def _events(events: Iterable[Event]) -> RenderableType:
    lines = [event_line(event) for event in events]
    return Group(*(lines or [Text("none yet", style="dim")]))
