"""Thresholds of one stream's plan: when they are computed, and when they are published."""

from services.planner.coordination.effects import retained
from services.planner.coordination.stream_thresholds import THRESHOLDS_EVERY_S, StreamThresholds
from services.planner.decisions.switching_ranges import ThresholdJob
from shared.bus import topics
from shared.messages.alternatives import Alternatives, Threshold, ThresholdQuantity
from shared.messages.streams import CommittedPlan
from tests.support.planner_fleet import MODEL
from tests.support.planner_world import problem_of, route, world

PLAN = CommittedPlan(
    stream="camera", epoch=1, model=MODEL, source="pi", strategy="auto", routes=(route((0, 5, "server")),)
)
JOB = ThresholdJob(PLAN, problem_of(world()))


def alternatives(leave_below: float) -> Alternatives:
    threshold = Threshold(
        quantity=ThresholdQuantity.BANDWIDTH,
        device="pi",
        target="server",
        value=50.0,
        low=6.0,
        high=100.0,
        leave_below=leave_below,
        below=route((0, 5, "pi")),
    )
    return Alternatives(stream="camera", epoch=1, cooldown_ms=0.0, thresholds=(threshold,))


def test_a_job_is_started_once_and_after_a_pause() -> None:
    thresholds = StreamThresholds("camera")
    assert thresholds.is_empty
    assert thresholds.is_due(0.0)
    assert thresholds.start(JOB, 10.0)
    assert not thresholds.is_due(10.0 + THRESHOLDS_EVERY_S - 0.1)
    assert thresholds.is_due(10.0 + THRESHOLDS_EVERY_S)
    assert not thresholds.start(JOB, 20.0)
    assert thresholds.start(ThresholdJob(PLAN, problem_of(world(mbps=20.0))), 20.0)


def test_thresholds_that_have_hardly_moved_are_not_published() -> None:
    thresholds = StreamThresholds("camera")
    first = alternatives(5.0)
    assert thresholds.found(first) == [retained(topics.alternatives("camera"), first)]
    assert thresholds.found(alternatives(5.01)) == []
    assert thresholds.published == first
    assert len(thresholds.found(alternatives(4.0))) == 1


def test_withdrawn_thresholds_are_published_as_none_once() -> None:
    thresholds = StreamThresholds("camera")
    assert thresholds.withdraw() == []
    thresholds.start(JOB, 10.0)
    thresholds.found(alternatives(5.0))
    none = alternatives(5.0).model_copy(update={"thresholds": ()})
    assert thresholds.withdraw() == [retained(topics.alternatives("camera"), none)]
    assert thresholds.withdraw() == []
    assert thresholds.start(JOB, 20.0)
    thresholds.clear()
    assert thresholds.is_empty
