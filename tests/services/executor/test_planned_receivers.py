"""Which devices a device sends to by its plans."""

from services.executor.planned_receivers import PlannedReceivers
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage
from shared.transport_mode import TransportMode


def plan(*routes: str, source: str = "me", transport: TransportMode | None = None) -> CommittedPlan:
    return CommittedPlan(
        stream="s",
        epoch=1,
        model="0" * 64,
        source=source,
        strategy="test",
        routes=tuple(
            PlanRoute(stages=tuple(PlanStage(start=n, stop=n + 1, device=name) for n, name in enumerate(way.split())))
            for way in routes
        ),
        transport=transport,
    )


def test_a_device_sends_to_the_one_after_it_on_every_route() -> None:
    receivers = PlannedReceivers("me")
    assert receivers.planned("s", plan("me a z", "b me c")) == {"a", "b", "c"}
    assert receivers.planned("t", plan("x me y", source="x")) == {"a", "b", "c", "y"}
    assert receivers.planned("u", plan("x y z", source="x")) == {"a", "b", "c", "y"}
    assert receivers.planned("s", plan("me me v")) == {"v", "y"}
    assert receivers.planned("s", None) == {"y"}
    assert receivers.planned("t", None) == frozenset()


def test_a_plan_that_allows_the_broker_only_needs_no_connection() -> None:
    receivers = PlannedReceivers("me")
    assert receivers.planned("s", plan("me a", transport=TransportMode.MQTT)) == frozenset()
    assert receivers.planned("s", plan("me a", transport=TransportMode.AUTO)) == {"a"}
