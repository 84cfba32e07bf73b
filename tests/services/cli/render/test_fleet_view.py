import pytest
from rich.console import Console

from services.cli.render.fleet_view import FleetView
from services.cli.render.live_screen import device_colours, fleet_screen, sparkline
from shared.bus import topics
from shared.messages.devices import LinkEstimate, Links, Presence, Profile, ServicePresence, State, Telemetry
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest
from shared.messages.requests import ClassScore, Outcome, OutcomeStatus
from shared.messages.streams import (
    CommittedPlan,
    PlanRoute,
    PlanStage,
    StreamDeclaration,
    StreamState,
    StreamStatus,
    StreamUsage,
)

MODEL = "cd" * 32
NOW_S = 1000.0


def told(view: FleetView, topic: str, payload: bytes) -> FleetView:
    view.handle(topic, payload, NOW_S)
    return view


def whole() -> FleetView:
    """A fleet of which everything is known."""
    view = FleetView()
    stages = (PlanStage(device="pi", start=0, stop=3), PlanStage(device="server", start=3, stop=9))
    plan = CommittedPlan(
        stream="s",
        epoch=4,
        model=MODEL,
        source="pi",
        strategy="shortest_path",
        routes=(PlanRoute(stages=stages, predicted_ms=61.0),),
        reason="link rose",
    )
    outcome = Outcome(
        request_id="r",
        stream="s",
        status=OutcomeStatus.OK,
        top=(ClassScore(index=1, label="espresso", score=0.98),),
        accepted_at_s=10.0,
        completed_at_s=10.05,
    )
    links = Links(
        device="pi", sent_at_s=1.0, links=(LinkEstimate(target="server", bandwidth_mbps=18.9, latency_ms=2.0),)
    )
    manifest = Manifest(model=MODEL, name="squeezenet", size_bytes=1, inputs=(), outputs=(), blocks=())
    event = Event(kind=EventKind.DEVICE_LOST, at_s=1.0, origin="planner", text="device tv is gone")
    for topic, message in (
        (topics.presence("pi"), Presence(device="pi", state=State.ONLINE, version="1")),
        (topics.presence("tv"), Presence(device="tv", state=State.OFFLINE)),
        (topics.telemetry("pi"), Telemetry(device="pi", sent_at_s=NOW_S, load_factor=2.5, cpu_percent=40.0)),
        (topics.links("pi"), links),
        (topics.profiles("pi", MODEL), Profile(device="pi", model=MODEL, block_ms=(1.0,))),
        (topics.service_presence("planner"), ServicePresence(name="planner", role="planner", state=State.ONLINE)),
        (topics.manifest(MODEL), manifest),
        (topics.stream("s"), StreamDeclaration(stream="s", model=MODEL, source="pi")),
        (topics.plan("s"), plan),
        (topics.status("s"), StreamStatus(stream="s", state=StreamState.RUNNING)),
        (topics.usage("s"), StreamUsage(stream="s", input_bytes=1000)),
        (topics.results("s"), outcome),
        (topics.events(), event),
    ):
        told(view, topic, message.encode())
    return view


def test_every_kind_of_message_finds_its_place() -> None:
    view = whole()
    device, stream = view.devices["pi"], view.streams["s"]
    assert (device.is_online, device.load_factor, view.devices["tv"].is_online) == (True, 2.5, False)
    assert device.profiles.keys() == {MODEL}
    assert (view.model_name(MODEL), view.model_name("squeezenet-of-the-door")) == (
        "squeezenet",
        "squeezenet-of-the-door",
    )
    assert (stream.results, stream.errors, list(stream.latencies_ms)) == (1, 0, [pytest.approx(50)])
    assert stream.plan is not None
    assert stream.usage is not None
    assert stream.status is not None
    assert view.undecodable == 0


def test_removed_messages_are_forgotten() -> None:
    view = whole()
    told(view, topics.manifest(MODEL), b"")
    told(view, topics.profiles("pi", MODEL), b"")
    told(view, topics.plan("s"), b"")
    told(view, topics.stream("s"), StreamDeclaration(stream="s", model="", source="pi").encode())
    assert (view.model_name(MODEL), view.devices["pi"].profiles) == (MODEL[:12], {})
    assert (view.streams["s"].plan, view.streams["s"].declaration) == (None, None)


def test_what_does_not_decode_is_counted_and_changes_nothing() -> None:
    view = whole()
    told(view, topics.telemetry("pi"), b"\xff\x00")
    told(view, "a/topic/of/others", b"")
    assert view.undecodable == 1
    assert view.devices["pi"].load_factor == 2.5


def test_the_screen_shows_devices_cut_labels_and_events() -> None:
    text = render(fleet_screen(whole(), NOW_S))
    for expected in ("pi", "x2.5", "DOWN", "server 18.9 Mbps", "[0,3)", "[3,9)", "espresso 0.98", "device tv is gone"):
        assert expected in text


@pytest.mark.parametrize("height", [4, 16, 24, 60])
def test_a_live_screen_fits_and_shows_the_newest_events(height: int) -> None:
    view = whole()
    for number in range(20):
        event = Event(kind=EventKind.REROUTE, at_s=1.0, origin="planner", text=f"event {number} {'long ' * 30}end")
        told(view, topics.events(), event.encode())
    console = Console(width=80, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(fleet_screen(view, NOW_S, height=height))
    lines = captured.get().splitlines()
    assert len(lines) <= max(height, 16)
    assert ("event 19" in captured.get()) == (height > 18)
    assert "event 0 " not in captured.get()
    assert all(len(line) <= 80 for line in lines)


def test_an_empty_fleet_can_be_shown() -> None:
    assert "none yet" in render(fleet_screen(FleetView(), NOW_S))


def test_colours_are_stable_and_bars_rise_to_the_largest() -> None:
    assert device_colours(["b", "a"]) == device_colours(["a", "b"])
    assert sparkline([0.0, 5.0, 10.0]) == "▁▅█"
    assert sparkline([]) == sparkline([0.0]) == ""


def render(content: object) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as captured:
        console.print(content)
    return captured.get()
