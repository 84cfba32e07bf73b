"""Progress of a run as lines and as a screen."""

import io

from rich.console import Console

from services.cli.testbed.run_reporter import LineReporter, PhaseStart, ScreenReporter, run_reporter
from shared.messages.events import Event, EventKind
from tests.support.fleet_views import whole_view

PHASE = PhaseStart(2, 6, "link-sags", "link a - b at 1.5 of 20 Mbps", 12.0)
LOST = Event(kind=EventKind.DEVICE_LOST, at_s=1.0, origin="planner", text="device tv is gone")
RETRIED = Event(kind=EventKind.REQUEST_RETRIED, at_s=1.0, origin="pi", text="request r again")


def test_lines_have_the_time_and_leave_frequent_events_out() -> None:
    written = io.StringIO()
    with run_reporter(whole_view(), Console(file=written, width=40)) as reporter:
        assert isinstance(reporter, LineReporter)
        reporter.step("starting the broker")
        reporter.phase(PHASE)
        reporter.event(LOST)
        reporter.event(RETRIED)
    lines = [line.partition(" s  ")[2] for line in written.getvalue().splitlines()]
    assert lines == [
        "starting the broker",
        "phase 2/6 link-sags: link a - b at 1.5 of 20 Mbps, 12 s",
        f"{'device_lost':<16} device tv is gone",
    ]


def test_the_screen_has_the_phase_as_its_heading() -> None:
    console = Console(width=120, height=40)
    screen = ScreenReporter(whole_view(), console)
    screen.step("asking the collector")
    with console.capture() as captured:
        console.print(screen)
    assert captured.get().startswith("asking the collector")
    screen.phase(PHASE)
    screen.event(LOST)
    with console.capture() as captured:
        console.print(screen)
    assert captured.get().startswith("phase 2 of 6: link-sags   link a - b at 1.5 of 20 Mbps   0 of 12 s")
    assert "device tv is gone" in captured.get()
