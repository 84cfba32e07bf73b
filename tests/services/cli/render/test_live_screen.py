"""The live screen of a fleet."""

import pytest
from rich.console import Console

from services.cli.render.fleet_view import FleetView
from services.cli.render.live_screen import cut_bar, device_colours, fleet_screen, sparkline
from shared.bus import topics
from shared.messages.events import Event, EventKind
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, PlanTile
from tests.support.fleet_views import VIEWED_AT_S, whole_view, with_message


def test_the_screen_shows_devices_cut_labels_and_events() -> None:
    text = render(fleet_screen(whole_view(), VIEWED_AT_S))
    for expected in ("pi", "x2.5", "DOWN", "server 18.9 Mbps", "[0,3)", "[3,9)", "espresso 0.98", "device tv is gone"):
        assert expected in text


@pytest.mark.parametrize("height", [4, 16, 24, 60])
def test_a_live_screen_fits_and_shows_the_newest_events(height: int) -> None:
    view = whole_view()
    for number in range(20):
        event = Event(kind=EventKind.REROUTE, at_s=1.0, origin="planner", text=f"event {number} {'long ' * 30}end")
        with_message(view, topics.events(), event.encode())
    console = Console(width=80, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(fleet_screen(view, VIEWED_AT_S, height=height))
    lines = captured.get().splitlines()
    assert len(lines) <= max(height, 16)
    assert ("event 19" in captured.get()) == (height > 18)
    assert "event 0 " not in captured.get()
    assert all(len(line) <= 80 for line in lines)


def test_tiles_are_shown_with_their_rows() -> None:
    tiles = (PlanTile(device="pi", rows=(0, 28)), PlanTile(device="tv", rows=(28, 56)))
    stages = (
        PlanStage(device="pi", start=0, stop=1),
        PlanStage(device="pi", start=1, stop=4, tiles=tiles),
        PlanStage(device="tv", start=4, stop=6),
    )
    route = PlanRoute(stages=stages)
    plan = CommittedPlan(stream="s", epoch=1, model="0" * 64, source="pi", strategy="pinned", routes=(route,))
    assert cut_bar(plan, {}).plain == "pi █ [0,1) -> pi 0-28 █ + tv 28-56 █ [1,4) -> tv ██ [4,6)"


def test_an_empty_fleet_can_be_shown() -> None:
    assert "none yet" in render(fleet_screen(FleetView(), VIEWED_AT_S))


def test_colours_are_stable_and_bars_rise_to_the_largest() -> None:
    assert device_colours(["b", "a"]) == device_colours(["a", "b"])
    assert sparkline([0.0, 5.0, 10.0]) == "▁▅█"
    assert sparkline([]) == sparkline([0.0]) == ""


def render(content: object) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(content)
    return captured.get()
