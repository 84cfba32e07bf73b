"""Progress of a run: a live screen on a terminal, one line per event elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from services.cli.render.fleet_view import FleetView
from services.cli.render.live_screen import event_line, fleet_screen
from shared.messages.events import Event, EventKind

_REFRESH_HZ: Final = 4

# Events without a line of their own: a phase with a killed device may have hundreds of them.
_QUIET: Final = frozenset({EventKind.REQUEST_RETRIED, EventKind.BAD_MESSAGE})


@dataclass(frozen=True, slots=True)
class PhaseStart:
    """The start of a phase.

    Attributes:
        index, count: its number, from 1, and the number of phases.
        name: of the phase.
        condition: description of its conditions.
        duration_s: None for a phase that lasts until it is stopped.
    """

    index: int
    count: int
    name: str
    condition: str
    duration_s: float | None


class Reporter(Protocol):
    """Receiver of a run's progress."""

    def step(self, text: str) -> None:
        """Report a step before the first phase or after the last."""

    def phase(self, phase: PhaseStart) -> None:
        """Report the start of a phase."""

    def event(self, event: Event) -> None:
        """Report an event of the fleet."""


class LineReporter:
    """A reporter of lines, for files, pipes and logs."""

    def __init__(self, console: Console) -> None:
        """Print to `console`."""
        self._console = console
        self._started_s = time.monotonic()

    def step(self, text: str) -> None:
        """Print the step."""
        self._print(text)

    def phase(self, phase: PhaseStart) -> None:
        """Print the phase's name and condition."""
        lasts = "" if phase.duration_s is None else f", {phase.duration_s:g} s"
        self._print(f"phase {phase.index}/{phase.count} {phase.name}: {phase.condition}{lasts}")

    def event(self, event: Event) -> None:
        """Print the event, unless its kind is in `_QUIET`."""
        if event.kind not in _QUIET:
            self._print(event_line(event).plain)

    def _print(self, text: str) -> None:
        self._console.print(
            f"{time.monotonic() - self._started_s:6.1f} s  {text}", markup=False, highlight=False, soft_wrap=True
        )


class ScreenReporter:
    """A reporter whose screen is drawn several times a second."""

    def __init__(self, view: FleetView, console: Console) -> None:
        """Show `view`, which the observer updates, on `console`."""
        self._view = view
        self._console = console
        self._heading = Text("starting")
        self._phase: PhaseStart | None = None
        self._began_s = time.monotonic()

    def step(self, text: str) -> None:
        """Show the step as the heading."""
        self._phase = None
        self._heading = Text(text, style="bold")

    def phase(self, phase: PhaseStart) -> None:
        """Show the phase as the heading."""
        self._phase, self._began_s = phase, time.monotonic()

    def event(self, event: Event) -> None:
        """Do nothing: the screen shows the events of the view."""

    def __rich__(self) -> RenderableType:
        """Return the present state."""
        return fleet_screen(self._view, time.time(), Group(self._title(), Text()), height=self._console.height)

    def _title(self) -> Text:
        if self._phase is None:
            return self._heading
        phase, passed_s = self._phase, time.monotonic() - self._began_s
        clock = f"{passed_s:.0f} s" if phase.duration_s is None else f"{passed_s:.0f} of {phase.duration_s:.0f} s"
        return Text.assemble(
            (f"phase {phase.index} of {phase.count}: {phase.name}", "bold"), f"   {phase.condition}   ", (clock, "dim")
        )


@contextmanager
def run_reporter(view: FleetView, console: Console) -> Iterator[Reporter]:
    """Show a run's progress on `console` for the time of the block."""
    if not console.is_terminal:
        yield LineReporter(console)
        return
    screen = ScreenReporter(view, console)
    with Live(screen, console=console, refresh_per_second=_REFRESH_HZ, screen=True):
        yield screen
