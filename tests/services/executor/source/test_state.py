from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.executor.source.pending_requests import RequestPhase
from services.executor.source.source_events import (
    Accept,
    Acknowledge,
    AlternativesKnown,
    AttemptRefused,
    BusChanged,
    CollectorsChanged,
    Confirm,
    Confirmed,
    DeleteOutcomes,
    DeviceSeen,
    Dispatch,
    Fail,
    JournalRestored,
    NotePublished,
    Observed,
    OutcomeSeen,
    OutcomesPublished,
    OutputsArriving,
    PlanCommitted,
    PlanRevoked,
    ReportRetry,
    ReportSwitch,
    Republish,
    Request,
    RequestArrived,
    RestoredOutcome,
    RestoredRequest,
    RetryTick,
    SourceCommand,
    SourceEvent,
    SourceLimits,
    StoreOutcome,
    StreamWithdrawn,
    TimeSkipped,
    Undispatchable,
)
from services.executor.source.state import SourceState
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.devices import TransferObservation
from shared.messages.requests import ErrorCause
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage

Kind = TypeVar("Kind")
LIMITS = SourceLimits(max_waiting=4, max_waiting_bytes=1000, patience_s=50.0)


def route(*devices: str, weight: int = 1, predicted_ms: float | None = 100.0) -> PlanRoute:
    cuts = (*range(len(devices)), 9)
    stages = tuple(PlanStage(start=cuts[n], stop=cuts[n + 1], device=device) for n, device in enumerate(devices))
    return PlanRoute(stages=stages, weight=weight, predicted_ms=predicted_ms)


def plan(epoch: int = 1, *routes: PlanRoute, **changes: Any) -> PlanCommitted:
    fields: dict[str, Any] = {
        "stream": "s",
        "epoch": epoch,
        "model": "0" * 64,
        "source": "me",
        "strategy": "test",
        "routes": routes or (route("me", "other"),),
        "max_in_flight": 2,
        "retry_limit": 2,
        "committed_at_s": float(epoch),
    }
    return PlanCommitted(CommittedPlan(**(fields | changes)))


def request(name: str, size_bytes: int = 10) -> Request:
    return Request(name, size_bytes, accepted_at_s=0.0)


def outcome(name: str, attempt: int = 1, *, ok: bool = True) -> OutcomeSeen:
    return OutcomeSeen(name, attempt, ok, b"{}", "application/json")


@dataclass
class Source:
    """Drives a state and collects what it asks for."""

    state: SourceState = field(default_factory=lambda: SourceState("me", LIMITS))
    commands: list[SourceCommand] = field(default_factory=list)

    def post(self, event: SourceEvent, now_s: float = 0.0) -> list[SourceCommand]:
        made = self.state.handle(event, now_s)
        self.state.validate()
        self.commands += made
        return made

    def arrive(self, name: str, now_s: float = 0.0, size_bytes: int = 10) -> list[SourceCommand]:
        return self.post(RequestArrived(request(name, size_bytes), token=len(self.commands)), now_s)

    def all(self, kind: type[Kind]) -> list[Kind]:
        return [command for command in self.commands if isinstance(command, kind)]


@pytest.fixture
def source() -> Source:
    return Source()


def test_a_request_is_journalled_before_it_is_dispatched(source: Source) -> None:
    source.post(plan())
    accept, dispatch = source.arrive("a")
    assert accept == Accept(request("a"), 0)
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.request.request_id, dispatch.attempt, dispatch.route) == ("a", 1, route("me", "other"))


def test_requests_wait_for_the_first_plan(source: Source) -> None:
    assert source.arrive("a") == [Accept(request("a"), 0)]
    (dispatch,) = source.post(plan())
    assert isinstance(dispatch, Dispatch)


def burst(**changes: Any) -> PlanCommitted:
    fields = {"jobs": 3, "max_in_flight": 8} | changes
    return plan(1, route("me", "other", weight=1), route("me", weight=2), **fields)


def lengths(source: Source) -> list[tuple[str, int]]:
    return [(dispatch.request.request_id, len(dispatch.route.stages)) for dispatch in source.all(Dispatch)]


def test_a_burst_is_started_in_the_order_of_the_plan(source: Source) -> None:
    source.post(burst())
    for name in "abcd":
        source.arrive(name)
    assert lengths(source) == [("a", 2), ("b", 1), ("c", 1), ("d", 2)]


def test_a_burst_with_fewer_requests_than_planned_leaves_the_next_its_first_route(source: Source) -> None:
    source.post(burst())
    source.arrive("a")
    source.arrive("b")
    source.post(outcome("a"))
    source.post(outcome("b"))
    source.arrive("c")
    source.arrive("d")
    assert lengths(source) == [("a", 2), ("b", 1), ("c", 2), ("d", 1)]


def test_a_retry_does_not_move_the_rest_of_a_burst(source: Source) -> None:
    source.post(DeviceSeen("other", "boot1"))
    source.post(burst(max_in_flight=2))
    for name in "abc":
        source.arrive(name)
    source.post(DeviceSeen("other", None))
    assert lengths(source) == [("a", 2), ("b", 1), ("a", 1)]
    source.post(outcome("a", attempt=2))
    assert lengths(source)[3:] == [("c", 1)]


def slow_uplink() -> Observed:
    """A transfer of 16 ms that is overdue after half a second."""
    seen = TransferObservation(device="me", target="other", size_bytes=100_000, elapsed_ms=500.0, finished=False)
    return Observed(seen)


def next_best(epoch: int = 1) -> AlternativesKnown:
    threshold = Threshold(
        quantity=ThresholdQuantity.BANDWIDTH, device="me", target="other",
        value=50.0, low=11.0, high=500.0, leave_below=10.0, below=route("me"),
    )  # fmt: skip
    return AlternativesKnown(Alternatives(stream="s", epoch=epoch, thresholds=(threshold,)))


def test_a_source_switches_by_itself_and_keeps_what_is_under_way_where_it_is(source: Source) -> None:
    source.post(plan(max_in_flight=4))
    source.post(next_best())
    source.arrive("a")
    (report,) = source.post(slow_uplink(), 1.0)
    assert isinstance(report, ReportSwitch)
    assert "switched to me[0,9)" in report.text
    source.arrive("b", 1.0)
    source.post(plan(max_in_flight=4), 1.1)
    source.arrive("c", 1.1)
    assert lengths(source) == [("a", 2), ("b", 1), ("c", 1)]
    source.post(plan(2, max_in_flight=4), 1.2)
    source.arrive("d", 1.2)
    assert lengths(source)[3:] == [("d", 2)]


def test_a_switch_that_the_planner_does_not_confirm_is_taken_back(source: Source) -> None:
    source.post(plan(max_in_flight=4))
    source.post(next_best())
    source.post(slow_uplink(), 1.0)
    source.post(RetryTick(), 100.0)
    source.arrive("a", 100.0)
    assert [report.text for report in source.all(ReportSwitch)][1].startswith("the planner has not confirmed")
    assert lengths(source) == [("a", 2)]


def test_no_more_than_max_in_flight_and_in_order(source: Source) -> None:
    source.post(plan())
    for name in "abcd":
        source.arrive(name)
    assert [dispatch.request.request_id for dispatch in source.all(Dispatch)] == ["a", "b"]
    source.post(outcome("b"))
    source.post(outcome("a"))
    assert [dispatch.request.request_id for dispatch in source.all(Dispatch)] == ["a", "b", "c", "d"]


def test_room_is_bounded_by_number_and_bytes(source: Source) -> None:
    for name in "abc":
        source.arrive(name)
    assert source.state.has_room
    source.arrive("d")
    assert not source.state.has_room
    heavy = Source()
    heavy.arrive("a", size_bytes=1000)
    assert not heavy.state.has_room


def test_an_outcome_is_stored_once(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    assert source.post(outcome("a")) == [StoreOutcome(request("a"), b"{}", "application/json")]
    assert source.post(outcome("a", attempt=2)) == []
    assert source.state.is_idle


def test_whichever_of_error_and_result_comes_first_is_the_only_outcome(source: Source) -> None:
    source.post(plan(retry_limit=0))
    source.arrive("late result")
    source.arrive("late error")
    (failed,) = source.post(AttemptRefused("late result", 1, "a hole"))
    assert isinstance(failed, Fail)
    assert source.post(outcome("late result")) == []
    (stored,) = source.post(outcome("late error"))
    assert isinstance(stored, StoreOutcome)
    assert source.post(outcome("late error", ok=False)) == []
    assert source.post(AttemptRefused("late error", 1, "a hole")) == []


def test_an_error_from_before_a_restart_stops_the_result_of_a_later_attempt(source: Source) -> None:
    source.post(JournalRestored((), (RestoredOutcome("a", 5, age_s=1.0, confirmed=False),)))
    assert source.post(outcome("a", attempt=4)) == []


def test_an_outcome_is_published_again_until_the_broker_has_it(source: Source) -> None:
    source.post(plan())
    source.post(RequestArrived(replace(request("a"), response_topic="mine"), 1))
    source.post(outcome("a"))
    assert source.post(RetryTick(), 6.0) == [Republish("a", "mine")]
    assert source.post(OutcomesPublished(("a", "stranger")), 7.0) == [NotePublished(("a",))]
    assert source.post(RetryTick(), 1000.0) == []


def test_an_outcome_of_an_earlier_release_is_stored_and_not_published_a_second_time(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    published = replace(outcome("a"), is_published=True)
    assert source.post(published) == [StoreOutcome(request("a"), b"{}", "application/json", is_published=True)]
    assert source.post(RetryTick(), 1000.0) == []


def test_a_repeated_request_under_way_that_is_answered_alike_gets_the_outcome_once(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    source.arrive("a")
    assert source.post(outcome("a")) == [StoreOutcome(request("a"), b"{}", "application/json")]


def test_attempts_that_failed_while_the_broker_was_silent_do_not_use_up_the_retries(source: Source) -> None:
    source.post(plan(retry_limit=1))
    source.arrive("a")
    source.post(RetryTick(), 20.0)
    source.post(BusChanged(False), 20.0)
    source.post(BusChanged(True), 60.0)
    (retried, again) = source.post(DeviceSeen("other", None), 60.0) + source.post(plan(2, route("me"), retry_limit=1))
    assert isinstance(retried, ReportRetry)
    assert isinstance(again, Dispatch)
    assert again.attempt == 3


def test_a_request_ends_although_the_broker_comes_and_goes(source: Source) -> None:
    source.post(plan(retry_limit=1))
    source.arrive("a")
    for number in range(10):
        now_s = 200.0 * number
        source.post(RetryTick(), now_s + 100.0)
        source.post(BusChanged(False), now_s + 150.0)
        source.post(BusChanged(True), now_s + 150.0)
    (failed,) = source.all(Fail)
    assert failed.cause is ErrorCause.RETRIES_EXHAUSTED
    assert failed.attempt == 5


def test_what_was_in_flight_at_a_restart_counts_even_if_the_broker_comes_back_later(source: Source) -> None:
    source.post(JournalRestored((RestoredRequest(request("poison"), 0.0, attempt=9, used_retries=1),), ()))
    source.post(BusChanged(False))
    source.post(BusChanged(True))
    (dispatch,) = source.post(plan(retry_limit=2))
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.attempt, dispatch.used_retries) == (10, 2)
    (failed, *_) = source.post(DeviceSeen("other", None))
    assert isinstance(failed, Fail)
    assert failed.cause is ErrorCause.RETRIES_EXHAUSTED


def test_time_in_which_the_process_did_not_run_is_no_timeout(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    assert source.post(TimeSkipped(), 60.0) == []
    assert source.post(RetryTick(), 60.0) == []
    assert source.state.phase("a") is RequestPhase.IN_FLIGHT


def test_a_repeated_request_under_way_gets_the_outcome_once_more(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    again = Request("a", 10, 0.0, response_topic="mine", correlation_data=b"2")
    assert source.post(RequestArrived(again, 77)) == [Acknowledge(77)]
    stored = StoreOutcome(request("a"), b"{}", "application/json")
    assert source.post(outcome("a")) == [stored, Republish("a", "mine", b"2")]


def test_a_repeated_request_that_is_finished_gets_its_outcome_again(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    source.post(outcome("a"))
    again = Request("a", 10, 0.0, response_topic="mine", correlation_data=b"2")
    assert source.post(RequestArrived(again, 78)) == [Republish("a", "mine", b"2"), Acknowledge(78)]


def test_an_attempt_whose_outputs_arrive_is_not_given_up(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    due_s = LIMITS.unpredicted_timeout_s
    for step in range(1, 10):
        assert source.post(OutputsArriving("a"), step * 0.9 * due_s) == []
        source.post(RetryTick(), step * 0.9 * due_s)
    assert source.all(ReportRetry) == []
    source.post(RetryTick(), 9.2 * due_s)
    assert len(source.all(ReportRetry)) == 1
    assert source.post(OutputsArriving("stranger"), 0.0) == []


def test_an_offline_device_has_its_requests_tried_again_elsewhere(source: Source) -> None:
    source.post(DeviceSeen("other", "boot"))
    source.post(plan(1, route("me", "other"), route("me", weight=1)))
    source.arrive("a")
    assert source.all(Dispatch)[0].route == route("me", "other")
    retry, dispatch = source.post(DeviceSeen("other", None))
    assert retry == ReportRetry("a", 1, "other went offline")
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.attempt, dispatch.route) == (2, route("me"))


def test_a_quick_restart_is_a_loss_too(source: Source) -> None:
    source.post(DeviceSeen("other", "boot"))
    source.post(plan())
    source.arrive("a")
    assert source.post(DeviceSeen("other", "boot")) == []
    retry, dispatch = source.post(DeviceSeen("other", "another boot"))
    assert retry == ReportRetry("a", 1, "other was restarted")
    assert isinstance(dispatch, Dispatch)


def test_the_first_sight_of_a_device_is_no_loss(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    assert source.post(DeviceSeen("other", "boot")) == []


def test_the_sources_own_absence_is_no_obstacle(source: Source) -> None:
    source.post(plan(1, route("me")))
    source.arrive("a")
    assert source.post(DeviceSeen("me", None)) == []
    source.arrive("b")
    assert len(source.all(Dispatch)) == 2


def test_without_a_usable_route_a_request_waits_for_the_next_plan(source: Source) -> None:
    source.post(DeviceSeen("other", "boot"))
    source.post(plan())
    source.arrive("a")
    assert source.post(DeviceSeen("other", None)) == [ReportRetry("a", 1, "other went offline")]
    (dispatch,) = source.post(plan(2, route("me")))
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.attempt, dispatch.plan.epoch) == (2, 2)


def test_a_device_that_comes_back_is_used_again(source: Source) -> None:
    source.post(DeviceSeen("other", None))
    source.post(plan())
    source.arrive("a")
    assert source.all(Dispatch) == []
    (dispatch,) = source.post(DeviceSeen("other", "boot"))
    assert isinstance(dispatch, Dispatch)


def test_timeouts_double_and_end_in_an_error(source: Source) -> None:
    source.post(plan(1, route("me", predicted_ms=100.0), retry_limit=2))
    source.arrive("a")
    assert source.post(RetryTick(), 0.9) == []
    assert ReportRetry("a", 1, "no outcome in time") in source.post(RetryTick(), 1.0)
    assert source.post(RetryTick(), 2.9) == []
    source.post(RetryTick(), 3.0)
    # The last attempt waits until a device that is gone without a word should be known to be.
    assert source.post(RetryTick(), 22.9) == []
    (fail,) = source.post(RetryTick(), 23.0)
    assert isinstance(fail, Fail)
    assert (fail.cause, fail.attempt) == (ErrorCause.RETRIES_EXHAUSTED, 3)
    assert source.state.is_idle


def unanswered_three_times(source: Source) -> None:
    """Let the last attempt of a request be under way to a device whose plug is pulled."""
    source.post(DeviceSeen("other", "boot"))
    source.post(plan(1, route("me", "other", predicted_ms=100.0), retry_limit=3))
    source.arrive("a")
    for due_s in (1.0, 3.0, 7.0):
        assert len(source.post(RetryTick(), due_s)) == 2
    assert len(source.all(Dispatch)) == 4


def test_attempts_do_not_count_that_went_to_a_device_that_was_gone(source: Source) -> None:
    unanswered_three_times(source)
    (retry,) = source.post(DeviceSeen("other", None), 12.0)
    assert retry == ReportRetry("a", 4, "other went offline")
    source.post(plan(2, route("me", predicted_ms=100.0), retry_limit=3), 13.0)
    assert source.all(Dispatch)[-1].route == route("me", predicted_ms=100.0)
    # The loss itself counts.
    for due_s in (15.0, 19.0):
        assert source.post(RetryTick(), due_s)[0] == ReportRetry(
            "a", source.all(Dispatch)[-2].attempt, "no outcome in time"
        )


def test_attempts_under_an_earlier_plan_do_not_count(source: Source) -> None:
    unanswered_three_times(source)
    source.post(plan(2, route("me", predicted_ms=100.0), retry_limit=3), 11.0)
    # The last attempt waits no longer than an earlier one would, because there is a new route for the next one.
    assert source.post(RetryTick(), 14.9) == []
    retry, dispatch = source.post(RetryTick(), 15.0)
    assert retry == ReportRetry("a", 4, "no outcome in time")
    assert isinstance(dispatch, Dispatch)
    assert (dispatch.attempt, dispatch.plan.epoch) == (5, 2)


def test_a_request_that_makes_devices_hang_ends_all_the_same(source: Source) -> None:
    source.post(plan(1, route("me", "other", predicted_ms=100.0)))
    source.arrive("a")
    now_s = 0.0
    for number in range(40):
        source.post(DeviceSeen("other", f"boot {number}"), now_s)
        now_s += 30.0
        source.post(RetryTick(), now_s)
        source.post(DeviceSeen("other", None), now_s)
    (fail,) = source.all(Fail)
    assert fail.cause is ErrorCause.RETRIES_EXHAUSTED
    assert fail.attempt <= 16


def test_timeouts_follow_the_prediction_and_what_is_under_way(source: Source) -> None:
    source.post(plan(1, route("me", predicted_ms=2000.0), max_in_flight=3))
    source.arrive("a")
    source.arrive("b")
    assert source.post(RetryTick(), 7.9) == []
    assert ReportRetry("a", 1, "no outcome in time") in source.post(RetryTick(), 8.0)
    assert ReportRetry("b", 1, "no outcome in time") in source.post(RetryTick(), 16.0)


def test_timeouts_follow_what_was_observed(source: Source) -> None:
    source.post(plan(1, route("me", predicted_ms=10.0), max_in_flight=1))
    source.arrive("a")
    source.post(outcome("a"), 0.9)
    source.arrive("b", 1.0)
    assert source.post(RetryTick(), 1.0 + 3.5) == []
    assert ReportRetry("b", 1, "no outcome in time") in source.post(RetryTick(), 1.0 + 3.6)


def test_without_a_prediction_the_deadline_gives_the_timeout(source: Source) -> None:
    source.post(plan(1, route("me", predicted_ms=None), deadline_ms=2000.0))
    source.arrive("a")
    assert source.post(RetryTick(), 3.9) == []
    assert source.post(RetryTick(), 4.0) != []


def test_no_timeouts_while_the_broker_is_away_and_a_fresh_one_afterwards(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    source.post(BusChanged(False), 0.5)
    assert source.post(RetryTick(), 100.0) == []
    source.arrive("b", 100.0)
    assert len(source.all(Dispatch)) == 1
    source.post(BusChanged(True), 101.0)
    assert [dispatch.request.request_id for dispatch in source.all(Dispatch)] == ["a", "b"]
    assert source.post(RetryTick(), 101.9) == []
    assert ReportRetry("a", 1, "no outcome in time") in source.post(RetryTick(), 102.0)


def test_a_request_past_its_deadline_is_not_begun(source: Source) -> None:
    source.post(plan(max_in_flight=1, deadline_ms=500.0))
    source.arrive("a")
    source.arrive("b")
    (fail,) = source.post(RetryTick(), 0.6)
    assert isinstance(fail, Fail)
    assert (fail.request.request_id, fail.cause) == ("b", ErrorCause.DEADLINE)


def test_patience_ends(source: Source) -> None:
    source.arrive("a")
    assert source.post(RetryTick(), 49.0) == []
    (fail,) = source.post(RetryTick(), 50.0)
    assert isinstance(fail, Fail)
    assert fail.cause is ErrorCause.RETRIES_EXHAUSTED


def test_live_streams_keep_the_newest_frame(source: Source) -> None:
    source.post(plan(max_in_flight=1, live=True))
    for name in "abcd":
        source.arrive(name)
        assert source.state.has_room
    failed = source.all(Fail)
    assert [(failure.request.request_id, failure.cause) for failure in failed] == [
        ("b", ErrorCause.SUPERSEDED),
        ("c", ErrorCause.SUPERSEDED),
    ]
    source.post(outcome("a"))
    assert [dispatch.request.request_id for dispatch in source.all(Dispatch)] == ["a", "d"]


def test_a_live_plan_supersedes_what_waited_for_it(source: Source) -> None:
    for name in "abc":
        source.arrive(name)
    source.post(plan(max_in_flight=1, live=True))
    assert [failure.request.request_id for failure in source.all(Fail)] == ["a", "b"]
    assert [dispatch.request.request_id for dispatch in source.all(Dispatch)] == ["c"]


def test_a_withdrawn_stream_fails_what_waits_and_lets_the_rest_end(source: Source) -> None:
    source.post(plan(max_in_flight=1))
    source.arrive("a")
    source.arrive("b")
    (fail,) = source.post(StreamWithdrawn())
    assert isinstance(fail, Fail)
    assert fail.request.request_id == "b"
    assert isinstance(source.post(outcome("a"))[0], StoreOutcome)


def test_a_revoked_plan_makes_requests_wait(source: Source) -> None:
    source.post(plan())
    source.post(PlanRevoked())
    source.arrive("a")
    assert source.all(Dispatch) == []
    source.post(plan(2))
    assert len(source.all(Dispatch)) == 1


def test_an_older_plan_that_comes_late_is_ignored(source: Source) -> None:
    source.post(plan(5))
    source.post(plan(4))
    assert source.state.plan is not None
    assert source.state.plan.epoch == 5
    source.post(plan(1, committed_at_s=99.0))
    assert source.state.plan.epoch == 1


def test_lost_bytes_end_in_an_error(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    (fail,) = source.post(Undispatchable("a", "gone"))
    assert isinstance(fail, Fail)
    assert fail.cause is ErrorCause.EXECUTION
    assert source.post(Undispatchable("a", "gone")) == []


def test_an_attempt_that_arrived_damaged_goes_again_at_once(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    retry, again = source.post(AttemptRefused("a", 1, "a hole"), 0.5)
    assert retry == ReportRetry("a", 1, "a hole")
    assert isinstance(again, Dispatch)
    assert again.attempt == 2
    assert source.post(AttemptRefused("a", 1, "late news"), 0.6) == []
    assert source.post(AttemptRefused("b", 1, "unknown"), 0.6) == []


def test_an_attempt_without_room_for_its_rows_is_no_failure_and_goes_again_with_the_next_event(source: Source) -> None:
    source.post(plan(retry_limit=0))
    source.arrive("a")
    for attempt in range(1, 6):
        assert source.post(AttemptRefused("a", attempt, "no memory", has_no_room=True), attempt) == []
        (again,) = (each for each in source.post(RetryTick(), attempt + 0.1) if isinstance(each, Dispatch))
        assert again.attempt == attempt + 1
    assert source.post(AttemptRefused("a", 2, "late news", has_no_room=True), 9.0) == []


def test_what_always_arrives_damaged_is_given_up_with_the_reason(source: Source) -> None:
    source.post(plan(retry_limit=1))
    source.arrive("a")
    source.post(AttemptRefused("a", 1, "a hole"))
    (fail,) = source.post(AttemptRefused("a", 2, "a hole"))
    assert isinstance(fail, Fail)
    assert (fail.cause, fail.text) == (ErrorCause.RETRIES_EXHAUSTED, "given up after 2 attempts: a hole")
    assert source.state.is_idle


def test_unconfirmed_outcomes_are_announced_while_a_collector_is_there(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    source.post(outcome("a"))
    source.post(OutcomesPublished(("a",)))
    assert source.post(RetryTick(), 10.0) == []
    source.post(CollectorsChanged(True))
    assert source.post(RetryTick(), 11.1) == [Republish("a", with_outputs=False)]
    assert source.post(Confirmed(("a", "stranger"))) == [Confirm(("a",))]
    assert source.post(RetryTick(), 1000.0) == []


def test_outcomes_are_forgotten_when_they_are_old(source: Source) -> None:
    source.post(plan())
    source.arrive("a")
    source.post(outcome("a"))
    source.post(OutcomesPublished(("a",)))
    assert source.post(RetryTick(), LIMITS.outcome_age_s + 1) == [DeleteOutcomes(("a",))]


def test_a_restart_goes_on_where_the_journal_stood(source: Source) -> None:
    source.post(
        JournalRestored(
            (RestoredRequest(request("a"), age_s=3.0, attempt=1), RestoredRequest(request("b"), 2.0, attempt=0)),
            (RestoredOutcome("c", 5, age_s=9.0, confirmed=False),),
        )
    )
    first, second = source.post(plan())
    assert isinstance(first, Dispatch)
    assert isinstance(second, Dispatch)
    assert (first.request.request_id, first.attempt) == ("a", 2)
    assert (second.request.request_id, second.attempt) == ("b", 1)
    assert source.post(RequestArrived(request("c"), 9)) == [Republish("c"), Acknowledge(9)]


def test_a_request_that_kills_its_source_fails_in_the_end(source: Source) -> None:
    source.post(JournalRestored((RestoredRequest(request("poison"), 0.0, attempt=3, used_retries=2),), ()))
    (fail,) = source.post(plan(retry_limit=2))
    assert isinstance(fail, Fail)
    assert fail.cause is ErrorCause.RETRIES_EXHAUSTED


WAITING, IN_FLIGHT, FINISHED = RequestPhase.WAITING, RequestPhase.IN_FLIGHT, RequestPhase.FINISHED

# For each event: the phase of request "a" afterwards, if it was unknown, waiting, in flight, or finished before. It is
# the table in the docstring of `services.executor.source.state`, without what depends on time.
TABLE: list[tuple[SourceEvent, RequestPhase | None, RequestPhase, RequestPhase, RequestPhase]] = [
    (RequestArrived(request("a"), 9), WAITING, WAITING, IN_FLIGHT, FINISHED),
    (JournalRestored((RestoredRequest(request("a"), 1.0, 0),), ()), WAITING, WAITING, IN_FLIGHT, FINISHED),
    (JournalRestored((), (RestoredOutcome("b", 1, 1.0, False),)), None, WAITING, IN_FLIGHT, FINISHED),
    (plan(2), None, IN_FLIGHT, IN_FLIGHT, FINISHED),
    (PlanRevoked(), None, WAITING, IN_FLIGHT, FINISHED),
    (StreamWithdrawn(), None, FINISHED, IN_FLIGHT, FINISHED),
    (OutputsArriving("a"), None, WAITING, IN_FLIGHT, FINISHED),
    (outcome("a"), None, FINISHED, FINISHED, FINISHED),
    (Undispatchable("a", "gone"), None, FINISHED, FINISHED, FINISHED),
    (AttemptRefused("a", 1, "a hole"), None, WAITING, WAITING, FINISHED),
    (AttemptRefused("a", 2, "a hole"), None, WAITING, IN_FLIGHT, FINISHED),
    (DeviceSeen("other", None), None, WAITING, WAITING, FINISHED),
    (DeviceSeen("stranger", None), None, WAITING, IN_FLIGHT, FINISHED),
    (BusChanged(True), None, WAITING, IN_FLIGHT, FINISHED),
    (BusChanged(False), None, WAITING, IN_FLIGHT, FINISHED),
    (RetryTick(), None, WAITING, IN_FLIGHT, FINISHED),
    (Confirmed(("a",)), None, WAITING, IN_FLIGHT, FINISHED),
    (TimeSkipped(), None, WAITING, IN_FLIGHT, FINISHED),
    (OutcomesPublished(("a",)), None, WAITING, IN_FLIGHT, FINISHED),
    (CollectorsChanged(True), None, WAITING, IN_FLIGHT, FINISHED),
    (next_best(), None, WAITING, IN_FLIGHT, FINISHED),
    (slow_uplink(), None, WAITING, IN_FLIGHT, FINISHED),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: type(row[0]).__name__)
@pytest.mark.parametrize("before", [None, WAITING, IN_FLIGHT, FINISHED], ids=str)
def test_an_event_moves_a_request_as_the_table_says(
    source: Source,
    before: RequestPhase | None,
    row: tuple[SourceEvent, RequestPhase | None, RequestPhase, RequestPhase, RequestPhase],
) -> None:
    event, *after = row
    if before is not None:
        source.arrive("a")
    if before in (IN_FLIGHT, FINISHED):
        source.post(plan())
        source.post(PlanRevoked())
    if before is FINISHED:
        source.post(outcome("a"))
    assert source.state.phase("a") is before
    source.post(event)
    assert source.state.phase("a") is after[[None, WAITING, IN_FLIGHT, FINISHED].index(before)]


def test_every_event_has_a_row_in_the_table() -> None:
    assert {type(event) for event, *_ in TABLE} == set(get_args(SourceEvent))


NAMES = st.sampled_from([f"r{number}" for number in range(8)])
DEVICES = st.sampled_from(["me", "x", "y"])
ARRIVALS = NAMES.map(lambda name: RequestArrived(request(name), token=0))
PLANS = st.builds(
    lambda epoch, routes, live, limit, flight, deadline: plan(
        epoch, *routes, live=live, retry_limit=limit, max_in_flight=flight, deadline_ms=deadline
    ),
    st.integers(1, 5),
    st.lists(st.lists(DEVICES, min_size=1, max_size=3).map(lambda devices: route(*devices)), min_size=1, max_size=3),
    st.booleans(),
    st.integers(0, 2),
    st.integers(1, 3),
    st.none() | st.floats(1, 5000),
)
EVENTS = st.one_of(
    ARRIVALS,
    ARRIVALS,
    PLANS,
    PLANS,
    st.builds(outcome, NAMES, st.integers(1, 3), ok=st.booleans()),
    st.builds(DeviceSeen, DEVICES, st.none() | st.sampled_from(["boot 1", "boot 2"])),
    st.builds(BusChanged, st.booleans()),
    st.builds(CollectorsChanged, st.booleans()),
    st.builds(Confirmed, st.lists(NAMES, max_size=3).map(tuple)),
    st.builds(Undispatchable, NAMES, st.just("gone")),
    st.builds(AttemptRefused, NAMES, st.integers(1, 3), st.just("a hole")),
    st.builds(OutcomesPublished, st.lists(NAMES, max_size=3).map(tuple)),
    st.sampled_from([StreamWithdrawn(), PlanRevoked(), TimeSkipped(), RetryTick(), RetryTick()]),
)
LIVES = st.lists(st.tuples(EVENTS, st.floats(0, 3)), min_size=30, max_size=60)
"""Events, and how long after the one before each of them comes. Fewer would hardly ever be a request and a plan."""


@settings(max_examples=300)
@given(LIVES)
def test_whatever_happens_every_accepted_request_ends_exactly_once(events: list[tuple[SourceEvent, float]]) -> None:
    source = Source()
    now_s = 0.0
    for token, (event, passed_s) in enumerate(events):
        now_s += passed_s
        if isinstance(event, RequestArrived):
            event = RequestArrived(event.request, token)
        source.post(event, now_s)
        current = source.state.plan
        assert source.state.in_flight >= 0
        assert source.state.in_flight + source.state.waiting == 0 or not source.state.is_idle
        if current and source.state.waiting and isinstance(event, RetryTick):
            assert source.state.in_flight <= max(current.max_in_flight, 3)
    source.post(BusChanged(True), now_s)
    for _ in range(40):
        now_s += 200.0
        source.post(RetryTick(), now_s)
    accepted = [accept.request.request_id for accept in source.all(Accept)]
    ended = [stored.request.request_id for stored in source.all(StoreOutcome)]
    ended += [failure.request.request_id for failure in source.all(Fail)]
    assert Counter(accepted) == Counter(ended)
    assert source.state.is_idle
    arrived = [event for event, _ in events if isinstance(event, RequestArrived)]
    told = len(accepted) + len(source.all(Acknowledge))
    assert told == len(arrived)


@given(LIVES)
def test_attempts_of_a_request_only_rise(events: list[tuple[SourceEvent, float]]) -> None:
    source = Source()
    now_s = 0.0
    for event, passed_s in events:
        now_s += passed_s
        source.post(event, now_s)
    attempts: dict[str, int] = {}
    for command in source.commands:
        if isinstance(command, Dispatch):
            name = command.request.request_id
            assert command.attempt == attempts.get(name, 0) + 1
            attempts[name] = command.attempt
        elif isinstance(command, StoreOutcome | Fail):
            attempts.pop(command.request.request_id, None)


def test_a_request_with_a_fault_ends_at_once_and_exactly_once(source: Source) -> None:
    source.post(plan())
    accepted, failed = source.post(RequestArrived(request("empty"), 1, "the request is empty"))
    assert isinstance(accepted, Accept)
    assert isinstance(failed, Fail)
    assert (failed.cause, failed.text) == (ErrorCause.BAD_INPUT, "the request is empty")
    assert source.state.phase("empty") is RequestPhase.FINISHED
    assert not any(isinstance(each, Accept | Fail) for each in source.post(RequestArrived(request("empty"), 2, "x")))


def test_a_request_expires_if_it_is_not_dispatched_in_time(source: Source) -> None:
    source.post(RequestArrived(replace(request("short"), lifetime_s=2.0), 1))
    assert not any(isinstance(each, Fail) for each in source.post(RetryTick(), 1.9))
    (failed,) = source.post(RetryTick(), 2.1)
    assert isinstance(failed, Fail)
    assert failed.cause is ErrorCause.DEADLINE
    source.post(plan(), 2.2)
    source.post(RequestArrived(replace(request("sent"), lifetime_s=2.0), 2), 2.3)
    assert source.state.phase("sent") is RequestPhase.IN_FLIGHT
    assert not any(isinstance(each, Fail) for each in source.post(RetryTick(), 9.0))
