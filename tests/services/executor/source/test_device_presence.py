from services.executor.source.device_presence import DevicePresence, stage_devices
from shared.messages.streams import PlanRoute, PlanStage


def route(*devices: str) -> PlanRoute:
    return PlanRoute(stages=tuple(PlanStage(start=n, stop=n + 1, device=device) for n, device in enumerate(devices)))


def test_requests_are_lost_when_a_device_goes_or_restarts_and_only_then() -> None:
    presence = DevicePresence("me")
    assert presence.update("other", "boot 1") is None
    assert presence.update("other", "boot 1") is None
    assert presence.update("other", "boot 2") == "other was restarted"
    assert presence.update("other", None) == "other went offline"
    assert presence.update("other", None) is None
    assert presence.update("other", "boot 3") is None


def test_a_device_that_was_never_seen_may_have_requests_that_are_lost_when_it_is_offline() -> None:
    assert DevicePresence("me").update("other", None) == "other went offline"


def test_a_route_is_usable_unless_one_of_its_devices_is_offline() -> None:
    presence = DevicePresence("me")
    presence.update("gone", None)
    presence.update("me", None)
    presence.update("here", "boot")
    assert presence.is_usable(route("me", "here", "stranger"))
    assert not presence.is_usable(route("me", "gone"))
    assert stage_devices(route("a", "b", "a")) == {"a", "b"}
