"""A view of a fleet whose every kind of message has arrived."""

from services.cli.render.fleet_view import FleetView
from shared.bus import topics
from shared.messages.devices import LinkEstimate, Links, Presence, Profile, ServicePresence, State, Telemetry
from shared.messages.events import Event, EventKind
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.requests import ClassScore, Outcome, OutcomeStatus
from shared.messages.streams import (
    CommittedPlan,
    PlanRoute,
    PlanStage,
    StreamDeclaration,
    StreamPhase,
    StreamStatus,
    StreamUsage,
)

VIEWED_MODEL = "cd" * 32
VIEWED_AT_S = 1000.0


def with_message(view: FleetView, topic: str, payload: bytes) -> FleetView:
    """Return the view after one message more."""
    view.handle(topic, payload, VIEWED_AT_S)
    return view


def whole_view() -> FleetView:
    """Return a fleet of which everything is known."""
    view = FleetView()
    stages = (PlanStage(device="pi", start=0, stop=3), PlanStage(device="server", start=3, stop=9))
    plan = CommittedPlan(
        stream="s",
        epoch=4,
        model=VIEWED_MODEL,
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
    manifest = Manifest(
        model=VIEWED_MODEL,
        name="squeezenet",
        size_bytes=1,
        inputs=(),
        outputs=(),
        blocks=(ManifestBlock(name="b", output_bytes=1),),
    )
    event = Event(kind=EventKind.DEVICE_LOST, at_s=1.0, origin="planner", text="device tv is gone")
    for topic, message in (
        (topics.presence("pi"), Presence(device="pi", state=State.ONLINE, version="1")),
        (topics.presence("tv"), Presence(device="tv", state=State.OFFLINE)),
        (topics.telemetry("pi"), Telemetry(device="pi", sent_at_s=VIEWED_AT_S, load_factor=2.5, cpu_percent=40.0)),
        (topics.links("pi"), links),
        (topics.profiles("pi", VIEWED_MODEL), Profile(device="pi", model=VIEWED_MODEL, block_ms=(1.0,))),
        (topics.service_presence("planner"), ServicePresence(name="planner", role="planner", state=State.ONLINE)),
        (topics.manifest(VIEWED_MODEL), manifest),
        (topics.stream("s"), StreamDeclaration(stream="s", model=VIEWED_MODEL, source="pi")),
        (topics.plan("s"), plan),
        (topics.status("s"), StreamStatus(stream="s", state=StreamPhase.RUNNING)),
        (topics.usage("s"), StreamUsage(stream="s", input_bytes=1000)),
        (topics.results("s"), outcome),
        (topics.events(), event),
    ):
        with_message(view, topic, message.encode())
    return view
