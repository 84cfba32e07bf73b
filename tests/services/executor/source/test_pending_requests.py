import pytest

from services.executor.source.pending_requests import PendingRequest, RetryTimeout
from services.executor.source.source_events import Request, SourceLimits
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage

ROUTE = PlanRoute(stages=(PlanStage(start=0, stop=1, device="me"),))
LIMITS = SourceLimits(minimum_timeout_s=1.0, unpredicted_timeout_s=10.0)


def plan(deadline_ms: float | None = None) -> CommittedPlan:
    return CommittedPlan(
        stream="s", epoch=1, model="0" * 64, source="me", strategy="test", routes=(ROUTE,), deadline_ms=deadline_ms
    )


def timeout_s(
    timeouts: RetryTimeout,
    predicted_ms: float | None,
    *,
    attempt: int = 1,
    in_flight: int = 1,
    deadline_ms: float | None = None,
    size_bytes: int = 0,
) -> float:
    route = ROUTE.model_copy(update={"predicted_ms": predicted_ms})
    return timeouts.timeout_s(plan(deadline_ms), route, attempt, in_flight, size_bytes)


def test_four_times_the_prediction_for_as_many_as_are_under_way() -> None:
    timeouts = RetryTimeout(LIMITS)
    assert timeout_s(timeouts, 500.0) == pytest.approx(2.0)
    assert timeout_s(timeouts, 500.0, in_flight=3) == pytest.approx(6.0)
    assert timeout_s(timeouts, 10.0) == LIMITS.minimum_timeout_s


def test_it_doubles_with_every_attempt_up_to_a_bound() -> None:
    timeouts = RetryTimeout(LIMITS)
    assert timeout_s(timeouts, 500.0, attempt=3) == pytest.approx(8.0)
    assert timeout_s(timeouts, 500.0, attempt=50) == 120.0


def test_what_was_observed_counts_if_it_is_more_and_until_the_next_plan() -> None:
    timeouts = RetryTimeout(LIMITS)
    timeouts.observe(1000.0, 20_000)
    assert timeout_s(timeouts, 500.0) == pytest.approx(4.0)
    timeouts.observe(2000.0, 20_000)
    assert timeout_s(timeouts, 500.0) == pytest.approx(4 * 1.3)
    timeouts.forget()
    assert timeout_s(timeouts, 500.0) == pytest.approx(2.0)


def test_without_a_prediction_the_deadline_counts_if_there_is_one() -> None:
    assert timeout_s(RetryTimeout(LIMITS), None, deadline_ms=3000.0) == pytest.approx(6.0)
    assert timeout_s(RetryTimeout(LIMITS), None) == LIMITS.unpredicted_timeout_s


def test_a_payload_larger_than_usual_may_take_longer_in_proportion() -> None:
    timeouts = RetryTimeout(LIMITS)
    timeouts.observe(500.0, 20_000)
    assert timeout_s(timeouts, 500.0, size_bytes=200_000) == pytest.approx(20.0)
    assert timeout_s(timeouts, 500.0, size_bytes=2_000) == pytest.approx(2.0)
    timeouts.forget()
    assert timeout_s(timeouts, 500.0, size_bytes=200_000) == pytest.approx(20.0), "another plan, the same camera"


@pytest.mark.parametrize(
    ("lifetime_s", "deadline_ms", "attempt", "text"),
    [
        (None, None, 0, ""),
        (3.0, 3000.0, 0, ""),
        (1.0, None, 0, "its message expiry interval has passed before it was dispatched"),
        (None, 1000.0, 0, "not dispatched within its deadline of 1000 ms"),
        (1.0, 1000.0, 1, ""),
    ],
)
def test_a_request_is_late_only_before_its_first_attempt(
    lifetime_s: float | None, deadline_ms: float | None, attempt: int, text: str
) -> None:
    pending = PendingRequest(Request("a", 1, 0.0, lifetime_s=lifetime_s), 10.0, attempt=attempt)
    assert pending.lateness(deadline_ms, 12.0) == text
