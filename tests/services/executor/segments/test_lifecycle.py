from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.segments.lifecycle import TRANSITIONS, LocalEpochPhase, SegmentLifecycle
from services.executor.segments.segment_events import (
    AnswerReady,
    AnswerRejected,
    Build,
    BuildFailed,
    BuildSucceeded,
    Drop,
    EpochKey,
    EpochsOver,
    PrepareAsked,
    ReleaseTick,
    SegmentBorrowed,
    SegmentCommand,
    SegmentEvent,
    SegmentKey,
    SegmentNeed,
    SegmentReturned,
)
from shared.messages.control import RejectionCause

A, B, C = (SegmentKey("m", start, start + 1) for start in range(3))
ONE, TWO = EpochKey("s", 1), EpochKey("s", 2)
OTHER = EpochKey("t", 1)


def need(key: SegmentKey, parameter_bytes: int = 0, activation_bytes: int = 0) -> SegmentNeed:
    return SegmentNeed(key, parameter_bytes, activation_bytes)


def ready(lifecycle: SegmentLifecycle, epoch: EpochKey, *keys: SegmentKey) -> None:
    for command in lifecycle.handle(PrepareAsked(epoch, tuple(need(key) for key in keys)), 0.0):
        if isinstance(command, Build):
            lifecycle.handle(BuildSucceeded(command.key), 0.0)
    assert lifecycle.phase(epoch) is LocalEpochPhase.READY


def test_an_epoch_is_ready_when_all_its_segments_are_built() -> None:
    lifecycle = SegmentLifecycle()
    assert lifecycle.handle(PrepareAsked(ONE, (need(A), need(B))), 0.0) == [Build(A), Build(B)]
    assert lifecycle.handle(BuildSucceeded(A), 0.0) == []
    assert lifecycle.phase(ONE) is LocalEpochPhase.PREPARING
    assert lifecycle.handle(BuildSucceeded(B), 0.0) == [AnswerReady(ONE)]


def test_what_is_loaded_is_not_built_again() -> None:
    lifecycle = SegmentLifecycle()
    ready(lifecycle, ONE, A, B)
    assert lifecycle.handle(PrepareAsked(TWO, (need(B),)), 0.0) == [AnswerReady(TWO)]


def test_a_repeated_command_is_answered_again() -> None:
    lifecycle = SegmentLifecycle()
    ready(lifecycle, ONE, A)
    assert lifecycle.handle(PrepareAsked(ONE, (need(A),)), 0.0) == [AnswerReady(ONE)]


def test_another_choice_under_the_same_number_replaces_the_first() -> None:
    lifecycle = SegmentLifecycle()
    ready(lifecycle, ONE, A)
    assert lifecycle.handle(PrepareAsked(ONE, (need(B),)), 0.0) == [Build(B)]
    assert lifecycle.handle(BuildSucceeded(B), 0.0) == [AnswerReady(ONE), Drop(A)]


def test_a_failed_build_rejects_the_epoch_with_its_reason() -> None:
    lifecycle = SegmentLifecycle()
    lifecycle.handle(PrepareAsked(ONE, (need(A), need(B))), 0.0)
    lifecycle.handle(BuildSucceeded(A), 0.0)
    failed = BuildFailed(B, RejectionCause.DISK, "the disk is full")
    assert lifecycle.handle(failed, 0.0) == [AnswerRejected(ONE, RejectionCause.DISK, "the disk is full"), Drop(A)]
    assert lifecycle.phase(ONE) is LocalEpochPhase.GONE


def test_segments_of_the_epoch_before_stay_until_its_last_request_is_through() -> None:
    lifecycle = SegmentLifecycle(linger_s=5.0)
    ready(lifecycle, ONE, A)
    ready(lifecycle, TWO, B)
    lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0)
    lifecycle.handle(EpochsOver("s", 1), 1.0)
    assert lifecycle.handle(ReleaseTick(), 100.0) == []
    lifecycle.handle(SegmentReturned(ONE), 100.0)
    assert lifecycle.handle(ReleaseTick(), 104.9) == []
    assert lifecycle.handle(ReleaseTick(), 105.0) == [Drop(A)]
    assert lifecycle.loaded == {B}


def test_a_segment_that_another_stream_uses_is_kept() -> None:
    lifecycle = SegmentLifecycle(linger_s=0.0)
    ready(lifecycle, ONE, A)
    ready(lifecycle, OTHER, A)
    lifecycle.handle(EpochsOver("s", None), 0.0)
    assert lifecycle.handle(ReleaseTick(), 1.0) == []
    lifecycle.handle(EpochsOver("t", None), 1.0)
    assert lifecycle.handle(ReleaseTick(), 2.0) == [Drop(A)]


def test_a_feature_map_has_its_segment_built_on_demand() -> None:
    lifecycle = SegmentLifecycle()
    assert lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0) == [Build(A)]
    assert lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0) == []
    assert lifecycle.handle(BuildSucceeded(A), 0.0) == []
    assert lifecycle.loaded == {A}


def test_a_late_feature_map_of_a_released_epoch_does_not_bring_it_back() -> None:
    lifecycle = SegmentLifecycle(linger_s=5.0)
    lifecycle.handle(EpochsOver("s", 1), 0.0)
    lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0)
    lifecycle.handle(BuildSucceeded(A), 0.0)
    lifecycle.handle(SegmentReturned(ONE), 1.0)
    assert lifecycle.handle(ReleaseTick(), 6.0) == [Drop(A)]


def test_epochs_that_stray_feature_maps_invent_end_by_themselves() -> None:
    lifecycle = SegmentLifecycle(linger_s=5.0)
    ready(lifecycle, ONE, B)
    for number in range(2, 1000):
        stray = EpochKey("s", number)
        lifecycle.handle(SegmentBorrowed(stray, need(A)), 0.0)
        lifecycle.handle(SegmentReturned(stray), 0.0)
    lifecycle.handle(BuildSucceeded(A), 0.0)
    assert lifecycle.handle(ReleaseTick(), 5.0) == [Drop(A)]
    assert lifecycle.held == {B}
    assert {lifecycle.phase(EpochKey("s", number)) for number in range(2, 1000)} == {LocalEpochPhase.GONE}


def test_an_epoch_that_a_feature_map_has_begun_is_kept_once_it_is_prepared() -> None:
    lifecycle = SegmentLifecycle(linger_s=5.0)
    lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0)
    lifecycle.handle(BuildSucceeded(A), 0.0)
    lifecycle.handle(SegmentReturned(ONE), 0.0)
    assert lifecycle.handle(PrepareAsked(ONE, (need(A),)), 1.0) == [AnswerReady(ONE)]
    assert lifecycle.handle(ReleaseTick(), 100.0) == []
    assert lifecycle.loaded == {A}


def test_a_stray_feature_map_hides_no_memory_of_the_epoch_in_use() -> None:
    lifecycle = SegmentLifecycle(memory_limit_bytes=2 * 2**20)
    lifecycle.handle(PrepareAsked(ONE, (need(A, 2**20, 2**19),)), 0.0)
    lifecycle.handle(SegmentBorrowed(TWO, need(A)), 0.0)
    (rejected,) = lifecycle.handle(PrepareAsked(OTHER, (need(B, 2**20, 1),)), 0.0)
    assert isinstance(rejected, AnswerRejected)


def test_a_build_that_fails_on_demand_rejects_nothing() -> None:
    lifecycle = SegmentLifecycle()
    lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0)
    assert lifecycle.handle(BuildFailed(A, RejectionCause.ERROR, "no"), 0.0) == []
    assert lifecycle.handle(SegmentBorrowed(ONE, need(A)), 0.0) == [Build(A)]


def test_a_segment_built_for_an_epoch_that_is_gone_is_dropped() -> None:
    lifecycle = SegmentLifecycle(linger_s=0.0)
    lifecycle.handle(PrepareAsked(ONE, (need(A),)), 0.0)
    lifecycle.handle(EpochsOver("s", None), 0.0)
    lifecycle.handle(ReleaseTick(), 1.0)
    assert lifecycle.handle(BuildSucceeded(A), 1.0) == [Drop(A)]


def test_the_limit_counts_the_newest_epoch_of_every_stream() -> None:
    lifecycle = SegmentLifecycle(memory_limit_bytes=2 * 2**20)
    asked = PrepareAsked(ONE, (need(A, 2**20, 2**19),))
    assert lifecycle.handle(asked, 0.0) == [Build(A)]
    (rejected,) = lifecycle.handle(PrepareAsked(OTHER, (need(B, 2**20, 1),)), 0.0)
    assert rejected == AnswerRejected(OTHER, RejectionCause.MEMORY, "2.5 MiB are needed and 2.0 MiB are allowed")
    # The stream's own epoch before does not count: it goes when the change is over.
    assert lifecycle.handle(PrepareAsked(TWO, (need(B, 2**20, 1),)), 0.0) == [Build(B)]


def test_only_what_is_not_loaded_needs_free_memory() -> None:
    lifecycle = SegmentLifecycle()
    ready(lifecycle, ONE, A)
    asked = PrepareAsked(TWO, (need(A, 2**30), need(B, 10, 10)), available_bytes=20)
    assert lifecycle.handle(asked, 0.0) == [Build(B)]
    (rejected,) = lifecycle.handle(PrepareAsked(EpochKey("s", 3), (need(C, 21),), available_bytes=20), 0.0)
    assert isinstance(rejected, AnswerRejected)
    assert rejected.cause is RejectionCause.MEMORY


def test_gone_is_the_end() -> None:
    assert all(phase is not LocalEpochPhase.GONE for phase, _ in TRANSITIONS)
    assert {phase for phase, _ in TRANSITIONS} == set(LocalEpochPhase) - {LocalEpochPhase.GONE}


KEYS = st.sampled_from([A, B, C])
EPOCHS = st.builds(EpochKey, st.sampled_from("st"), st.integers(1, 3))
STEPS = st.one_of(
    st.builds(
        lambda epoch, keys: PrepareAsked(epoch, tuple(need(key) for key in keys)),
        EPOCHS,
        st.sets(KEYS, min_size=1),
    ),
    st.builds(lambda epoch, key: SegmentBorrowed(epoch, need(key)), EPOCHS, KEYS),
    st.builds(EpochsOver, st.sampled_from("st"), st.none() | st.integers(1, 3)),
    st.sampled_from(["return", "built", "failed"]),
    st.just(ReleaseTick()),
)


@dataclass
class Device:
    """Performs the commands of a lifecycle, and lends and builds segments when a test says so."""

    lifecycle: SegmentLifecycle = field(default_factory=lambda: SegmentLifecycle(linger_s=1.0))
    now_s: float = 0.0
    building: list[SegmentKey] = field(default_factory=list)
    loaded: set[SegmentKey] = field(default_factory=set)
    borrowed: list[EpochKey] = field(default_factory=list)

    def post(self, event: SegmentEvent) -> None:
        if isinstance(event, SegmentBorrowed):
            self.borrowed.append(event.epoch)
        if isinstance(event, BuildSucceeded):
            self.loaded.add(event.key)
        for command in self.lifecycle.handle(event, self.now_s):
            self.perform(command)
        self.lifecycle.validate()
        assert self.lifecycle.loaded == self.loaded

    def perform(self, command: SegmentCommand) -> None:
        if isinstance(command, Build):
            assert command.key not in self.building
            assert command.key not in self.loaded
            self.building.append(command.key)
        elif isinstance(command, Drop):
            self.loaded.remove(command.key)

    def step(self, step: SegmentEvent | str) -> None:
        if not isinstance(step, str):
            self.post(step)
        elif step == "return" and self.borrowed:
            self.post(SegmentReturned(self.borrowed.pop()))
        elif step == "built" and self.building:
            self.post(BuildSucceeded(self.building.pop(0)))
        elif step == "failed" and self.building:
            self.post(BuildFailed(self.building.pop(0), RejectionCause.ERROR, "no"))


@given(st.lists(st.tuples(STEPS, st.floats(0, 10)), min_size=10, max_size=50))
def test_builds_and_drops_balance_and_everything_goes_in_the_end(steps: list[tuple[SegmentEvent | str, float]]) -> None:
    device = Device()
    for step, passed_s in steps:
        device.now_s += passed_s
        device.step(step)
    while device.borrowed:
        device.step("return")
    while device.building:
        device.step("built")
    for stream in "st":
        device.post(EpochsOver(stream, None))
    device.now_s += 1.001
    device.post(ReleaseTick())
    assert not device.loaded


def test_returning_what_was_not_borrowed_is_a_broken_contract() -> None:
    with pytest.raises(KeyError):
        SegmentLifecycle().handle(SegmentReturned(ONE), 0.0)
