"""Make before break, event by event."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.planner.coordination.epoch_events import (
    Abandon,
    ClearPlan,
    Commit,
    DeviceLost,
    DeviceOnline,
    EpochCommand,
    EpochEvent,
    EpochTicked,
    Exclude,
    KeepWarm,
    PlanAgain,
    PlanSeen,
    Propose,
    ReadyFrom,
    RejectedBy,
    ReserveEpoch,
    SendPrepare,
    SendRelease,
    Withdraw,
)
from services.planner.coordination.epochs import (
    EXCLUDE_FOR_S,
    READY_TIMEOUT_S,
    RESEND_AFTER_S,
    EpochPhase,
    Epochs,
    IllegalTransitionError,
    advance,
)
from services.planner.decisions.causes import Cause
from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.problem_from_snapshot import Exclusion
from services.planner.problems.sharing import segment_bytes
from shared.messages.control import RejectionCause, SegmentRange
from shared.messages.events import RerouteCause
from shared.messages.streams import CommittedPlan, PlanRoute
from tests.support.planner_fleet import MODEL, manifest_of
from tests.support.planner_world import route

REROUTE = RerouteDecision(Cause(RerouteCause.LINK_CHANGED, "link"), "link: 2 ms -> 1 ms", (), 2.0, 1.0)
BOTH = route((0, 3, "pi"), (3, 5, "server"))
ALONE = route((0, 5, "pi"))


def plan_of(*routes: PlanRoute, epoch: int = 0) -> CommittedPlan:
    return CommittedPlan(stream="camera", epoch=epoch, model=MODEL, source="pi", strategy="auto", routes=routes)


def propose(*routes: PlanRoute) -> Propose:
    return Propose(plan_of(*routes), manifest_of(), REROUTE)


def play(*events: EpochEvent, epochs: Epochs | None = None, now_s: float = 10.0) -> tuple[Epochs, list[EpochCommand]]:
    """Return the state after all events, and the commands of the last."""
    state = epochs or Epochs("camera")
    commands: list[EpochCommand] = []
    for event in events:
        state, commands = advance(state, event, now_s)
    return state, commands


def test_the_number_is_on_disk_before_anybody_is_asked() -> None:
    state, commands = play(propose(BOTH))
    assert commands[0] == ReserveEpoch(1)
    assert state.last_epoch == 1
    assert state.phase is EpochPhase.PROPOSING
    asked = {each.device: each.prepare for each in commands[1:] if isinstance(each, SendPrepare)}
    assert {device: [(s.start, s.stop) for s in each.segments] for device, each in asked.items()} == {
        "pi": [(0, 3)],
        "server": [(3, 5)],
    }
    assert all(each.epoch == 1 and each.stream == "camera" for each in asked.values())


def test_it_is_committed_when_the_last_device_is_ready_and_not_before() -> None:
    state, commands = play(propose(BOTH), ReadyFrom("pi", 1), ReadyFrom("pi", 1))
    assert commands == []
    assert state.phase is EpochPhase.PROPOSING
    state, commands = advance(state, ReadyFrom("server", 1), 12.0)
    assert [type(each) for each in commands] == [Commit]
    assert isinstance(commands[0], Commit)
    assert commands[0].previous is None
    assert (commands[0].plan.epoch, commands[0].plan.committed_at_s) == (1, 12.0)
    assert state.phase is EpochPhase.RUNNING
    assert state.committed == commands[0].plan


def test_the_epoch_before_is_released_only_after_the_commit() -> None:
    running, _ = play(propose(BOTH), ReadyFrom("pi", 1), ReadyFrom("server", 1))
    state, commands = advance(running, propose(ALONE), 20.0)
    assert state.phase is EpochPhase.REROUTING
    assert state.committed == running.committed
    assert not any(isinstance(each, SendRelease) for each in commands)
    state, commands = advance(state, ReadyFrom("pi", 2), 21.0)
    assert isinstance(commands[0], Commit)
    assert commands[0].previous == running.committed
    released = [each for each in commands[1:] if isinstance(each, SendRelease)]
    assert {each.device: each.release.through_epoch for each in released} == {"pi": 1, "server": 1}
    assert state.holders == {"pi"}


def test_a_device_that_only_prepared_is_released_with_the_next_commit() -> None:
    state, _ = play(propose(BOTH), RejectedBy("pi", 1, RejectionCause.DISK, "full"), propose(ALONE))
    state, commands = advance(state, ReadyFrom("pi", 2), 21.0)
    assert {each.device for each in commands if isinstance(each, SendRelease)} == {"pi", "server"}


@pytest.mark.parametrize("cause", list(RejectionCause))
def test_a_rejection_excludes_the_choice_and_plans_again(cause: RejectionCause) -> None:
    state, commands = play(propose(BOTH), RejectedBy("server", 1, cause, "no room"))
    need = segment_bytes(manifest_of(), 3, 5) if cause is RejectionCause.MEMORY else None
    exclusion = Exclusion("camera", "server", MODEL, 10.0 + EXCLUDE_FOR_S, "no room", need)
    assert commands == [Exclude(exclusion, cause), PlanAgain()]
    assert state.phase is EpochPhase.IDLE
    assert state.last_epoch == 1


def test_what_may_come_next_is_kept_warm_under_the_number_of_the_plan_in_force() -> None:
    running, _ = play(propose(ALONE), ReadyFrom("pi", 1))
    segments = {"server": (SegmentRange(start=0, stop=5),), "pi": (SegmentRange(start=0, stop=5),)}
    warm, commands = play(KeepWarm(segments, manifest_of()), epochs=running)
    asked = {each.device: each.prepare for each in commands if isinstance(each, SendPrepare)}
    assert {device: (each.epoch, each.segments) for device, each in asked.items()} == {
        device: (1, ranges) for device, ranges in segments.items()
    }
    assert warm.phase is EpochPhase.RUNNING
    assert warm.committed == running.committed
    assert play(KeepWarm(segments, manifest_of()), epochs=warm)[1] == []
    assert play(ReadyFrom("server", 1), epochs=warm) == (warm, [])
    assert play(RejectedBy("server", 1, RejectionCause.MEMORY, "full"), epochs=warm) == (warm, [])
    again, _ = play(DeviceOnline("server", restarted=True), epochs=warm)
    asked_again = play(KeepWarm(segments, manifest_of()), epochs=again)[1]
    assert [each.device for each in asked_again if isinstance(each, SendPrepare)] == ["server"]
    assert len(asked_again) == 1
    rerouted, commands = play(propose(ALONE), ReadyFrom("pi", 2), epochs=warm)
    assert {each.device for each in commands if isinstance(each, SendRelease)} == {"pi", "server"}
    assert rerouted.warm == {}


def test_silent_devices_are_asked_again_and_then_excluded() -> None:
    state, _ = play(propose(BOTH), ReadyFrom("pi", 1))
    assert advance(state, EpochTicked(), 10.0 + RESEND_AFTER_S - 0.1) == (state, [])
    state, commands = advance(state, EpochTicked(), 10.0 + RESEND_AFTER_S)
    assert [each.device for each in commands if isinstance(each, SendPrepare)] == ["server"]
    assert advance(state, EpochTicked(), 10.0 + RESEND_AFTER_S)[1] == []
    state, commands = advance(state, EpochTicked(), 10.0 + READY_TIMEOUT_S)
    assert isinstance(commands[0], Exclude)
    assert commands[0].cause is None
    assert commands[0].exclusion.device == "server"
    assert commands[1:] == [PlanAgain()]
    assert state.phase is EpochPhase.IDLE


def test_a_lost_device_ends_only_a_proposal_that_needs_it() -> None:
    state, _ = play(propose(ALONE))
    assert advance(state, DeviceLost("server"), 11.0) == (state, [])
    assert advance(state, DeviceLost("pi"), 11.0) == (replace(state, proposal=None), [PlanAgain()])


def test_a_device_that_reconnects_is_sent_again_what_it_may_have_missed() -> None:
    running, _ = play(propose(BOTH), ReadyFrom("pi", 1), ReadyFrom("server", 1))
    state, _ = play(propose(BOTH), ReadyFrom("server", 2), epochs=running)
    _, commands = advance(state, DeviceOnline("pi", restarted=False), 11.0)
    assert [type(each) for each in commands] == [SendRelease, SendPrepare]
    assert advance(state, DeviceOnline("server", restarted=False), 11.0)[0] == state
    state, commands = advance(state, DeviceOnline("server", restarted=True), 11.0)
    assert [type(each) for each in commands] == [SendPrepare]
    assert state.proposal is not None
    assert state.proposal.silent == ("pi", "server")


def test_answers_to_earlier_epochs_change_nothing() -> None:
    state, _ = play(propose(BOTH), Abandon(), propose(BOTH))
    for event in (
        ReadyFrom("pi", 1),
        RejectedBy("pi", 1, RejectionCause.ERROR, "late"),
        ReadyFrom("moon", 2),
        RejectedBy("moon", 2, RejectionCause.ERROR, "who"),
    ):
        assert advance(state, event, 11.0) == (state, [])


def test_a_withdrawn_stream_is_cleared_and_released_and_keeps_its_numbers() -> None:
    running, _ = play(propose(BOTH), ReadyFrom("pi", 1), ReadyFrom("server", 1), propose(ALONE))
    state, commands = advance(running, Withdraw(), 20.0)
    assert commands[0] == ClearPlan()
    assert state == Epochs("camera", last_epoch=2)
    assert {each.release.through_epoch for each in commands[1:] if isinstance(each, SendRelease)} == {2}


def test_a_newer_plan_on_the_broker_is_adopted() -> None:
    seen = plan_of(BOTH, epoch=7)
    state, _ = play(PlanSeen(seen))
    assert state == Epochs("camera", 7, seen, holders=frozenset({"pi", "server"}))
    newer = plan_of(ALONE, epoch=9)
    assert play(PlanSeen(newer), epochs=state)[0] == replace(state, last_epoch=9, committed=newer)
    assert play(PlanSeen(seen), epochs=Epochs("camera", 9, newer))[0].committed is newer
    assert play(PlanSeen(seen), epochs=Epochs("camera", last_epoch=7))[0].committed is None


@pytest.mark.parametrize(
    ("phase", "event"),
    [
        (EpochPhase.PROPOSING, propose(BOTH)),
        (EpochPhase.REROUTING, propose(BOTH)),
        (EpochPhase.IDLE, Abandon()),
        (EpochPhase.RUNNING, Abandon()),
    ],
)
def test_what_the_table_does_not_list_is_a_fault(phase: EpochPhase, event: EpochEvent) -> None:
    ready = (ReadyFrom("pi", 1), ReadyFrom("server", 1))
    events: dict[EpochPhase, tuple[EpochEvent, ...]] = {
        EpochPhase.IDLE: (),
        EpochPhase.PROPOSING: (propose(BOTH),),
        EpochPhase.RUNNING: (propose(BOTH), *ready),
        EpochPhase.REROUTING: (propose(BOTH), *ready, propose(ALONE)),
    }
    state, _ = play(*events[phase])
    assert state.phase is phase
    with pytest.raises(IllegalTransitionError, match=phase.name.lower()):
        advance(state, event, 20.0)


DEVICES = st.sampled_from(["pi", "server", "moon"])
# Age of the command that a device answers, in epochs.
BACK = st.sampled_from([0, 0, 0, 1, 2])
EVENTS = st.lists(
    st.one_of(
        st.builds(ReadyFrom, DEVICES, BACK),
        st.builds(ReadyFrom, st.just("pi"), st.just(0)),
        st.builds(RejectedBy, DEVICES, BACK, st.sampled_from(RejectionCause), st.just("why")),
        st.builds(DeviceLost, DEVICES),
        st.builds(DeviceOnline, DEVICES, st.booleans()),
        st.just(EpochTicked()),
        st.just(Withdraw()),
        st.just(Abandon()),
        st.sampled_from([propose(BOTH), propose(ALONE)]),
        st.builds(lambda epoch: PlanSeen(plan_of(ALONE, epoch=epoch)), st.integers(1, 6)),
    ),
    min_size=20,
    max_size=40,
)


@given(EVENTS)
def test_no_number_is_used_twice_and_nothing_is_committed_unready(events: list[EpochEvent]) -> None:
    state, reserved, ready = Epochs("camera"), [0], set[tuple[str, int]]()
    for index, event in enumerate(events):
        before = state
        if isinstance(event, ReadyFrom | RejectedBy):
            event = replace(event, epoch=state.last_epoch - event.epoch)
        try:
            state, commands = advance(state, event, float(index))
        except IllegalTransitionError:
            continue
        if isinstance(event, ReadyFrom):
            ready.add((event.device, event.epoch))
        elif isinstance(event, DeviceLost):
            ready -= {each for each in ready if each[0] == event.device}
        for each in commands:
            match each:
                case ReserveEpoch(epoch):
                    assert epoch > max(reserved)
                    reserved.append(epoch)
                case Commit(plan):
                    assert plan.epoch == reserved[-1]
                    assert all((s.device, plan.epoch) in ready for route in plan.routes for s in route.stages)
                case SendRelease(_, release):
                    assert state.committed is None or release.through_epoch < state.committed.epoch
        assert state.last_epoch >= before.last_epoch


def test_a_device_is_told_whom_it_will_send_to() -> None:
    _, commands = play(propose(BOTH))
    asked = {each.device: each.prepare.receivers for each in commands if isinstance(each, SendPrepare)}
    assert asked == {"pi": ("server",), "server": ()}
