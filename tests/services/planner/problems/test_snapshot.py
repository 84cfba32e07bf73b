"""The snapshot of the fleet, message by message."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from services.planner.problems.snapshot import (
    TELEMETRY_STALE_AFTER_S,
    DeviceState,
    FleetSnapshot,
    ModelWithdrawn,
    PolicySet,
    apply,
)
from shared.messages.devices import State
from shared.messages.streams import StreamUsage
from shared.policy import Policy
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import after, declaration, link, load, presence, profile, world


def test_a_device_comes_goes_and_comes_back_with_what_was_known_of_it() -> None:
    snapshot = after(FleetSnapshot(), presence("pi", cores=4), profile("pi", (1.0,)), link("pi", "server", 9.0))
    gone = apply(snapshot, presence("pi", State.OFFLINE), 200.0)
    assert not gone.device("pi").online
    assert gone.device("pi").presence_changed_at_s == 200.0
    back = apply(gone, presence("pi", boot_id="boot2"), 300.0).device("pi")
    assert back.online
    assert back.boot_id == "boot2"
    assert back.presence_changed_at_s == 300.0
    assert back.profile(manifest_of(MODEL)) is not None
    assert back.links["server"].bandwidth_mbps == 9.0


def test_the_last_will_of_a_replaced_process_is_ignored() -> None:
    snapshot = after(FleetSnapshot(), presence("pi", boot_id="old"), presence("pi", boot_id="new"))
    assert apply(snapshot, presence("pi", State.OFFLINE, boot_id="old"), 101.0).device("pi").online
    assert not apply(snapshot, presence("pi", State.OFFLINE, boot_id="new"), 101.0).device("pi").online
    assert not apply(snapshot, presence("pi", State.OFFLINE, boot_id=""), 101.0).device("pi").online


def test_stale_telemetry_counts_as_idle() -> None:
    device = after(FleetSnapshot(), load("pi", 4.0), now_s=100.0).device("pi")
    assert device.present_load_factor(100.0 + TELEMETRY_STALE_AFTER_S) == 4.0
    assert device.present_load_factor(100.1 + TELEMETRY_STALE_AFTER_S) == 1.0
    assert DeviceState().present_load_factor(0.0) == 1.0


def test_a_heartbeat_does_not_move_the_time_of_a_change() -> None:
    # The clocks of the monitors, `at_s`, have no part in it.
    snapshot = after(after(FleetSnapshot(), load("pi", 4.0, at_s=9e8), now_s=1.0), load("pi", 4.01), now_s=2.0)
    assert snapshot.device("pi").load_changed_at_s == 1.0
    assert after(snapshot, load("pi", 5.0), now_s=3.0).device("pi").load_changed_at_s == 3.0
    first = after(FleetSnapshot(), link("pi", "server", 50.0, at_s=9e8), now_s=1.0)
    snapshot = after(first, link("pi", "server", 50.2), now_s=2.0)
    assert snapshot.device("pi").links["server"].changed_at_s == 1.0
    changed = after(snapshot, link("pi", "server", 50.0, latency_ms=9.0), now_s=3.0)
    assert changed.device("pi").links["server"].changed_at_s == 3.0


def test_an_alias_is_the_newest_manifest_of_that_name() -> None:
    first, second = manifest_of("1" * 64), manifest_of("2" * 64)
    snapshot = after(FleetSnapshot(), first, second)
    assert snapshot.resolve("net") == second
    assert snapshot.resolve("1" * 64) == first
    assert after(snapshot, first).resolve("net") == first
    assert after(snapshot, ModelWithdrawn("2" * 64)).resolve("net") == first
    assert snapshot.resolve("other") is None


def test_a_withdrawn_stream_takes_policy_and_usage_along() -> None:
    snapshot = world(PolicySet("camera", Policy(min_gain=0.3)), StreamUsage(stream="camera", input_bytes=7))
    assert snapshot.policy("camera").min_gain == 0.3
    gone = after(snapshot, declaration(model=""))
    assert not gone.streams
    assert not gone.policies
    assert not gone.usage
    assert gone.policy("camera") == Policy()


def test_a_policy_can_be_taken_back() -> None:
    snapshot = world(PolicySet("camera", Policy(min_gain=0.3)), PolicySet("camera", None))
    assert snapshot.policy("camera") == Policy()


MESSAGES = st.lists(
    st.one_of(
        st.builds(presence, st.sampled_from("abc"), st.sampled_from(State)),
        st.builds(load, st.sampled_from("abc"), st.floats(0.1, 10)),
        st.builds(link, st.sampled_from("abc"), st.sampled_from("abc"), st.floats(0, 100)),
        st.builds(profile, st.sampled_from("abc"), st.just((1.0,))),
    ),
    max_size=20,
)


@given(MESSAGES)
def test_a_snapshot_never_changes_and_repeating_a_message_changes_nothing(messages: list[object]) -> None:
    snapshot = FleetSnapshot()
    for message in messages:
        copy = replace(snapshot)
        following = apply(snapshot, message, 100.0)  # type: ignore[arg-type]
        assert snapshot == copy
        assert apply(following, message, 100.0) == following  # type: ignore[arg-type]
        snapshot = following
