"""Outcomes, events and samples as a fleet publishes them."""

from services.collector.inbound import Record
from services.collector.outcome_store import ReceivedRecord
from shared.messages.events import Event, EventKind, Reroute, RerouteCause
from shared.messages.requests import ClassScore, ErrorCause, Outcome, OutcomeStatus, StageTrace
from shared.messages.streams import PlanRoute, PlanStage

START_S = 1_700_000_000.0


def result(
    request_id: str,
    *,
    stream: str = "camera",
    epoch: int = 1,
    at_s: float = START_S,
    latency_ms: float = 50.0,
    waited_ms: float = 10.0,
    attempt: int = 1,
    trace: tuple[StageTrace, ...] = (),
) -> Outcome:
    """Return a result that completed at `at_s`."""
    dispatched_at_s = at_s - latency_ms / 1000
    return Outcome(
        request_id=request_id,
        stream=stream,
        status=OutcomeStatus.OK,
        model="a" * 64,
        epoch=epoch,
        attempt=attempt,
        top=(ClassScore(index=3, label="tiger", score=0.75),),
        accepted_at_s=dispatched_at_s - waited_ms / 1000,
        dispatched_at_s=dispatched_at_s,
        completed_at_s=at_s,
        input_bytes=20_000,
        trace=trace,
    )


def failure(request_id: str, *, stream: str = "camera", at_s: float = START_S, attempt: int = 4) -> Outcome:
    return Outcome(
        request_id=request_id,
        stream=stream,
        status=OutcomeStatus.ERROR,
        cause=ErrorCause.RETRIES_EXHAUSTED,
        error="three retries were not enough",
        attempt=attempt,
        accepted_at_s=at_s - 1.0,
        completed_at_s=at_s,
    )


def reroute_event(*, epoch: int = 2, trigger_at_s: float = START_S, stream: str = "camera") -> Event:
    whole = PlanRoute(stages=(PlanStage(start=0, stop=9, device="pi"),))
    split = PlanRoute(stages=(PlanStage(start=0, stop=4, device="pi"), PlanStage(start=4, stop=9, device="server")))
    reroute = Reroute(
        stream=stream,
        epoch=epoch,
        cause=RerouteCause.LINK_CHANGED,
        reason="the link to server fell to 2 Mbps",
        previous=(split,),
        chosen=(whole,),
        objective="latency",
        predicted_before=400.0,
        predicted_after=120.0,
        trigger_at_s=trigger_at_s,
        committed_at_s=trigger_at_s + 0.02,
    )
    return Event(
        kind=EventKind.REROUTE,
        at_s=trigger_at_s + 0.02,
        origin="planner",
        text=f"stream {stream}, epoch {epoch}: {reroute.reason}",
        stream=stream,
        data=reroute.model_dump(mode="json"),
    )


def arrivals(*records: Record | None, at_s: float = START_S) -> list[ReceivedRecord]:
    """Return the records as received at `at_s`; each must be one (`ingest` may return none)."""
    return [ReceivedRecord(present(record), at_s) for record in records]


def present(record: Record | None) -> Record:
    """Return the record, which must not be none."""
    assert record is not None
    return record
