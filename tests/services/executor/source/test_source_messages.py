from dataclasses import replace

import pytest

from services.executor.source.source_events import Dispatch, Fail, Request
from services.executor.source.source_messages import confined, error_outcome, first_header
from shared.messages.requests import JSON_CONTENT, MSGPACK_CONTENT, ErrorCause, Outcome, OutcomeStatus
from shared.messages.streams import CommittedPlan, PlanRoute, PlanStage

REQUEST = Request(
    "r",
    3,
    accepted_at_s=1_700_000_000.0,
    accept=MSGPACK_CONTENT,
    response_topic="segue/replies/app",
    correlation_data=b"\x01",
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
)
ROUTE = PlanRoute(stages=(PlanStage(start=0, stop=2, device="pi"), PlanStage(start=2, stop=5, device="server")))
OTHER = PlanRoute(stages=(PlanStage(start=0, stop=5, device="server"),))


def attempt(request: Request = REQUEST, deadline_ms: float | None = None) -> Dispatch:
    plan = CommittedPlan(
        stream="s",
        epoch=7,
        model="a" * 64,
        source="pi",
        strategy="test",
        routes=(OTHER, ROUTE),
        deadline_ms=deadline_ms,
    )
    return Dispatch(request, 2, plan, ROUTE, accepted_s=100.0)


def test_a_header_is_that_of_the_attempt_before_its_first_stage() -> None:
    header = first_header(attempt(), "s", "pi", 101.0)
    assert (header.request_id, header.stream, header.model, header.input_bytes) == ("r", "s", "a" * 64, 3)
    assert (header.epoch, header.attempt, header.stages, header.stage) == (7, 2, ROUTE.stages, 0)
    assert (header.source, header.sender) == ("pi", "pi")
    assert (header.accept, header.response_topic) == (REQUEST.accept, REQUEST.response_topic)
    assert (header.correlation_data, header.traceparent) == (REQUEST.correlation_data, REQUEST.traceparent)


@pytest.mark.parametrize(("now_s", "waited_s"), [(104.5, 4.5), (100.0, 0.0), (99.0, 0.0)])
def test_the_time_of_dispatch_is_the_acceptance_and_the_wait_since(now_s: float, waited_s: float) -> None:
    header = first_header(attempt(), "s", "pi", now_s)
    assert header.dispatched_at_s == REQUEST.accepted_at_s + waited_s
    assert (header.accepted_at_s, header.accepted_s, header.sent_s) == (REQUEST.accepted_at_s, 100.0, now_s)


def test_the_deadline_counts_from_the_acceptance() -> None:
    assert first_header(attempt(), "s", "pi", 101.0).deadline_at_s is None
    assert first_header(attempt(deadline_ms=250.0), "s", "pi", 101.0).deadline_at_s == REQUEST.accepted_at_s + 0.25


def test_a_request_that_does_not_fit_into_a_header_is_an_error() -> None:
    with pytest.raises(ValueError, match="request_id"):
        first_header(attempt(Request("r" * 10_000, 3, accepted_at_s=1.0)), "s", "pi", 101.0)


@pytest.mark.parametrize("model", ["", "a" * 64])
def test_an_error_outcome_has_the_cause_the_attempt_and_the_age(model: str) -> None:
    failure = error_outcome(Fail(REQUEST, ErrorCause.DEADLINE, "no answer", 3, 7, age_s=12.5), "s", model)
    assert failure.content_type == MSGPACK_CONTENT
    outcome = Outcome.decode(failure.payload)
    assert (outcome.status, outcome.cause, outcome.error) == (OutcomeStatus.ERROR, ErrorCause.DEADLINE, "no answer")
    assert (outcome.request_id, outcome.stream, outcome.model) == ("r", "s", model)
    assert (outcome.epoch, outcome.attempt, outcome.input_bytes) == (7, 3, 3)
    assert outcome.completed_at_s == outcome.accepted_at_s + 12.5 == REQUEST.accepted_at_s + 12.5


def test_an_error_outcome_is_json_unless_the_request_asks_for_msgpack() -> None:
    failure = error_outcome(Fail(Request("r", 3, 1.0), ErrorCause.EXECUTION, "", 1, 1, age_s=0.0), "s", "")
    assert failure.content_type == JSON_CONTENT
    assert bytes(failure.payload).startswith(b"{")


@pytest.mark.parametrize("topic", [None, "segue/replies/app", "segue/streams/s/results"])
def test_a_request_keeps_a_response_topic_that_it_may_have(topic: str | None) -> None:
    request = replace(REQUEST, response_topic=topic)
    assert confined(request, "segue", "s") == (request, "")


@pytest.mark.parametrize("topic", ["segue/devices/pi/commands", "elsewhere/replies/app", "segue/streams/t/results"])
def test_another_response_topic_is_left_out_with_a_reason(topic: str) -> None:
    request, fault = confined(replace(REQUEST, response_topic=topic), "segue", "s")
    assert request == replace(REQUEST, response_topic=None)
    assert topic in fault
