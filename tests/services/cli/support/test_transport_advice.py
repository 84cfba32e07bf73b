"""What is said of streams whose feature maps travel through the broker."""

import pytest

from services.cli.render.fleet_view import FleetView
from services.cli.support.transport_advice import advice_text, transport_advice, transport_text
from shared.bus import topics
from shared.messages.base import Message
from shared.messages.devices import LinkEstimate, Links, Presence, State
from shared.messages.models import Manifest, ManifestBlock
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage, StreamUsage
from shared.transport_mode import Carrier, TransportMode

MODEL = "0" * 64
MQTT, AUTO = ("mqtt",), ("direct", "mqtt")


def fleet(
    *links: LinkEstimate, transports: tuple[str, ...] = MQTT, mode: TransportMode | None = None, to: str = "server"
) -> FleetView:
    blocks = tuple(ManifestBlock(name=name, output_bytes=size) for name, size in (("a", 10), ("b", 500_000), ("c", 4)))
    manifest = Manifest(model=MODEL, name="m", size_bytes=1, inputs=(), outputs=(), blocks=blocks)
    stages = (PlanStage(start=0, stop=2, device="pi"), PlanStage(start=2, stop=3, device=to))
    plan = CommittedPlan(
        stream="s",
        epoch=1,
        model=MODEL,
        source="pi",
        strategy="t",
        routes=(PlanRoute(stages=stages),),
        transport=mode,
    )
    messages: list[tuple[str, Message]] = [
        (topics.manifest(MODEL), manifest),
        (topics.plan("s"), plan),
        (topics.links("pi"), Links(device="pi", sent_at_s=1.0, links=links)),
    ]
    messages += [
        (topics.presence(name), Presence(device=name, state=State.ONLINE, transports=transports))
        for name in ("pi", "server")
    ]
    view = FleetView()
    for topic, message in messages:
        view.handle(topic, message.encode(), 2.0)
    return view


BROKERED = LinkEstimate(target="server", bandwidth_mbps=40.0, latency_ms=2.0)
DIRECT = LinkEstimate(target="server", bandwidth_mbps=80.0, latency_ms=1.0, transport=Carrier.DIRECT)


def test_the_saving_is_told_where_it_was_measured() -> None:
    view = fleet(BROKERED, DIRECT, transports=AUTO, mode=TransportMode.MQTT)
    assert transport_advice(view, view.streams["s"]) == (
        "each request sends 500 kB from pi to server in 102.0 ms (directly: 51.0 ms) through the broker; "
        "direct connections would save 51.0 ms of each request"
    )
    assert advice_text(view, view.streams["s"]) == "segue policy set s --transport auto"


def test_elsewhere_the_time_through_the_broker_is_told() -> None:
    view = fleet(BROKERED)
    advised = transport_advice(view, view.streams["s"])
    assert advised is not None
    assert (
        "500 kB from pi to server in 102.0 ms through the broker; direct connections would save the detour" in advised
    )
    assert advice_text(view, view.streams["s"]) == "start the executors of pi, server with --transport auto"
    unknown = fleet()
    assert "in an unknown time" in (transport_advice(unknown, unknown.streams["s"]) or "")


@pytest.mark.parametrize("view", [fleet(BROKERED, transports=AUTO), fleet(BROKERED, to="pi")])
def test_nothing_is_said_where_nothing_would_change(view: FleetView) -> None:
    assert transport_advice(view, view.streams["s"]) is None


def test_direct_feature_maps_are_told_with_what_the_broker_would_take() -> None:
    view = fleet(BROKERED, DIRECT, transports=AUTO)
    assert transport_text(view, view.streams["s"]) == (
        "each request sends 500 kB directly from pi to server in 51.0 ms (through the broker: 102.0 ms)"
    )
    brokered = fleet(BROKERED)
    assert transport_text(brokered, brokered.streams["s"]) == transport_advice(brokered, brokered.streams["s"])
    alone = fleet(BROKERED, to="pi")
    assert transport_text(alone, alone.streams["s"]) is None


def test_a_direct_way_that_is_down_is_not_told_as_the_way_of_feature_maps() -> None:
    view = fleet(BROKERED, DIRECT.model_copy(update={"bandwidth_mbps": 0.0}), transports=AUTO)
    told = transport_text(view, view.streams["s"])
    assert told is not None
    assert told == (
        "each request sends 500 kB from pi to server in 102.0 ms through the broker; "
        "no direct connection comes about from pi to server"
    )
    assert advice_text(view, view.streams["s"]).startswith("check that the others reach server")


def test_a_request_that_goes_to_another_device_is_a_hop() -> None:
    view = fleet(BROKERED, DIRECT, transports=AUTO)
    plan = view.streams["s"].plan
    assert plan is not None
    stages = (PlanStage(start=0, stop=3, device="server"),)
    remote = plan.model_copy(update={"epoch": 2, "routes": (PlanRoute(stages=stages),)})
    view.handle(topics.plan("s"), remote.encode(), 3.0)
    view.handle(topics.usage("s"), StreamUsage(stream="s", input_bytes=100_000).encode(), 3.0)
    assert transport_text(view, view.streams["s"]) == (
        "each request sends 100 kB directly from pi to server in 11.0 ms (through the broker: 22.0 ms)"
    )
