"""Messages of devices, and commands without an answer, in the planner's core."""

import pytest

from planning.strategies import strategies
from services.planner.coordination.response_timeouts import ANSWER_WITHIN_S
from services.planner.inbound import PolicyDocument
from shared.bus import topics
from shared.messages.control import Prepare, Preparing, ProfileFailed, Ready, RejectionCause
from shared.messages.devices import Presence, State, Telemetry
from shared.messages.events import EventKind
from shared.messages.streams import StreamUsage
from tests.support.planner_bench import Bench, CheckedCoordinator, commands, events, plans, published
from tests.support.planner_fleet import MODEL
from tests.support.planner_world import load, presence


@pytest.fixture
def running() -> Bench:
    bench = Bench()
    bench.fleet()
    bench.obey()
    bench.effects.clear()
    return bench


def test_a_device_that_comes_and_goes_is_announced_once_each(running: Bench) -> None:
    running.hear(presence("server", State.OFFLINE), presence("server", State.OFFLINE))
    running.hear(presence("server"), presence("server"), presence("server", boot_id="boot2"))
    kinds = [(each.kind, each.text) for each in events(running.effects)]
    assert kinds == [
        (EventKind.DEVICE_LOST, "device server is gone"),
        (EventKind.DEVICE_BACK, "device server is back"),
        (EventKind.DEVICE_BACK, "device server was restarted"),
    ]


def test_a_device_whose_telemetry_comes_first_is_not_announced_as_back() -> None:
    bench = Bench()
    bench.hear(Telemetry(device="fresh", sent_at_s=1.0), presence("fresh"))
    assert "device fresh is back" not in [each.text for each in events(bench.effects)]


def test_a_proposal_that_leads_away_from_a_lost_device_goes_on(running: Bench) -> None:
    running.hear(load("server", 30.0))
    asked = [(device, each) for device, each in commands(running.plan()) if isinstance(each, Prepare)]
    assert [device for device, _ in asked] == ["pi"]
    running.hear(presence("server", State.OFFLINE))
    done = running.hear(Ready(device="pi", stream="camera", epoch=asked[0][1].epoch))
    assert [plan.epoch for plan in plans(done)] == [asked[0][1].epoch]


def test_a_device_that_does_not_answer_is_offline_until_it_publishes_again(running: Bench) -> None:
    """Its retained presence is still online: it died together with the broker, which keeps retained messages."""
    running.hear(PolicyDocument("camera", b'{"raw_input_stays_on_source": true}'))
    asked = [device for device, each in commands(running.plan()) if isinstance(each, Prepare)]
    assert "server" in asked
    running.now_s += ANSWER_WITHIN_S
    running.hear(*(Ready(device=device, stream="camera", epoch=2) for device in asked if device != "server"))
    running.take(running.core.tick(running.now_s))
    assert (
        EventKind.DEVICE_LOST,
        "device server does not answer commands (it must be allowed to read "
        "devices/server/commands and to write devices/server/reports)",
    ) in [(each.kind, each.text) for each in events(running.effects)]
    (told,) = published(running.effects, topics.presence("server"))
    assert Presence.decode(told).state is State.OFFLINE
    (plan,) = plans(running.obey())
    assert {stage.device for route in plan.routes for stage in route.stages} == {"pi"}
    running.hear(presence("server"))
    running.now_s += 5.0
    assert "server" in {device for device, each in commands(running.plan()) if isinstance(each, Prepare)}


def test_a_device_that_acknowledges_has_time_to_prepare(running: Bench) -> None:
    running.hear(PolicyDocument("camera", b'{"raw_input_stays_on_source": true}'))
    asked = [device for device, each in commands(running.plan()) if isinstance(each, Prepare)]
    running.hear(*(Preparing(device=device, stream="camera", epoch=2) for device in asked))
    running.now_s += ANSWER_WITHIN_S
    running.take(running.core.tick(running.now_s))
    assert running.core.snapshot.device("server").online
    done = running.hear(*(Ready(device=device, stream="camera", epoch=2) for device in asked))
    assert [plan.epoch for plan in plans(done)] == [2]


def test_a_device_that_follows_another_planner_is_offline_and_announced_once() -> None:
    bench = Bench(CheckedCoordinator("planner", strategies().keys(), 0.0, "ours"))
    foreign = presence("pi").model_copy(update={"planner_keys": ("theirs",)})
    bench.hear(foreign, foreign)
    (event,) = events(bench.effects)
    assert event.kind is EventKind.FAILURE
    assert "device pi: it follows planner key theirs only" in event.text
    assert "segue device trust pi ours" in event.text
    assert not bench.core.snapshot.device("pi").online
    bench.hear(foreign.model_copy(update={"planner_keys": ("theirs", "ours")}))
    assert bench.core.snapshot.device("pi").online


def test_a_planner_that_does_not_sign_takes_every_device() -> None:
    bench = Bench()
    bench.hear(presence("pi").model_copy(update={"planner_keys": ("theirs",)}))
    assert bench.core.snapshot.device("pi").online


def test_a_device_that_cannot_measure_a_model_is_announced(running: Bench) -> None:
    effects = running.hear(ProfileFailed(device="pi", model=MODEL, cause=RejectionCause.MEMORY, reason="out of memory"))
    (event,) = events(effects)
    assert (event.kind, event.device) == (EventKind.FAILURE, "pi")
    assert event.text == f"device pi cannot measure model {MODEL[:12]}: out of memory"


def test_only_new_figures_of_requests_make_a_stream_due(running: Bench) -> None:
    running.hear(StreamUsage(stream="camera", input_bytes=100, rate_hz=1.0))
    assert running.core.snapshot.usage["camera"].rate_hz == 1.0
    assert running.core.streams.next_due_at_s <= running.now_s
    running.plan()
    running.hear(StreamUsage(stream="camera", input_bytes=100, rate_hz=1.0))
    assert running.core.streams.next_due_at_s > running.now_s


def test_reports_about_an_unknown_stream_change_nothing(running: Bench) -> None:
    assert running.hear(Ready(device="pi", stream="unheard-of", epoch=1)) == []
    assert running.hear(Preparing(device="pi", stream="unheard-of", epoch=1)) == []
    assert running.core.streams.get("unheard-of") is None
