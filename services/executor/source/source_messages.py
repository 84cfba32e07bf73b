"""Messages that the source of a stream makes itself: headers of its attempts, and error outcomes."""

from dataclasses import replace

from services.executor.results import encode_outcome
from services.executor.source.journal import StoredOutcome
from services.executor.source.source_events import Dispatch, Fail, Request
from shared.bus import topics
from shared.messages.bounds import clean_text
from shared.messages.requests import FeatureMapHeader, Outcome, OutcomeStatus


def confined(request: Request, root: str, stream: str) -> tuple[Request, str]:
    """Return a request without a response topic on which it must not be answered, and the fault; empty for none."""
    topic = request.response_topic
    if topic is None or topics.is_response_topic(topic, root, stream):
        return request, ""
    fault = f"response topic {clean_text(topic, 80)!r} is outside {root}/replies/: ignored"
    return replace(request, response_topic=None), fault


def first_header(command: Dispatch, stream: str, device: str, now_s: float) -> FeatureMapHeader:
    """Return the header of an attempt before its first stage.

    Args:
        command: the attempt.
        stream: of the request.
        device: of the source, which sends the attempt.
        now_s: monotonic seconds.

    Raises:
        ValueError: the request does not fit into a header.
    """
    request, plan = command.request, command.plan
    return FeatureMapHeader(
        transfer_id="",
        sender=device,
        request_id=request.request_id,
        stream=stream,
        model=plan.model,
        epoch=plan.epoch,
        attempt=command.attempt,
        stages=command.route.stages,
        stage=0,
        tensors=(),
        source=device,
        accepted_at_s=request.accepted_at_s,
        # Not this moment's wall clock, which may have been set since the acceptance.
        dispatched_at_s=request.accepted_at_s + max(0.0, now_s - command.accepted_s),
        accepted_s=command.accepted_s,
        sent_s=now_s,
        deadline_at_s=None if plan.deadline_ms is None else request.accepted_at_s + plan.deadline_ms / 1000,
        queue=plan.queue,
        transport=plan.transport,
        accept=request.accept,
        response_topic=request.response_topic,
        correlation_data=request.correlation_data,
        traceparent=request.traceparent,
        input_bytes=request.size_bytes,
        outcome_to_source=True,
    )


def error_outcome(command: Fail, stream: str, model: str) -> StoredOutcome:
    """Return the outcome of a request that has failed, in the content type that the request asks for.

    Args:
        command: the failure.
        stream: of the request.
        model: digest of the model in the stream's plan; empty without a plan.
    """
    request = command.request
    outcome = Outcome(
        request_id=request.request_id,
        stream=stream,
        status=OutcomeStatus.ERROR,
        model=model,
        epoch=command.epoch,
        attempt=command.attempt,
        cause=command.cause,
        error=command.text,
        accepted_at_s=request.accepted_at_s,
        completed_at_s=request.accepted_at_s + command.age_s,
        input_bytes=request.size_bytes,
    )
    return StoredOutcome(*encode_outcome(outcome, request.accept))
