"""Thresholds of the plan that one stream runs: times of their computation, and the published values."""

from services.planner.coordination.effects import Effect, retained
from services.planner.decisions.switching_ranges import ThresholdJob, is_noteworthy
from shared.bus import topics
from shared.messages.alternatives import Alternatives

# Pause between two computations of a plan's thresholds.
THRESHOLDS_EVERY_S = 2.0


class StreamThresholds:
    """The last threshold job of one stream's plan, and its published result. Only the methods change them."""

    def __init__(self, stream: str) -> None:
        """Start without thresholds."""
        self._stream = stream
        self._last_job: ThresholdJob | None = None
        self._published: Alternatives | None = None
        self._next_job_at_s = 0.0

    @property
    def published(self) -> Alternatives | None:
        """The thresholds published last."""
        return self._published

    @property
    def is_empty(self) -> bool:
        """There is neither a job nor a result."""
        return self._last_job is None and self._published is None

    def is_due(self, now_s: float) -> bool:
        """Return whether the pause since the last job is over."""
        return now_s >= self._next_job_at_s

    def start(self, job: ThresholdJob, now_s: float) -> bool:
        """Note a job as started; return False if plan and problem are those of the last one."""
        if job == self._last_job:
            return False
        self._last_job, self._next_job_at_s = job, now_s + THRESHOLDS_EVERY_S
        return True

    def found(self, alternatives: Alternatives) -> list[Effect]:
        """Publish thresholds that have moved."""
        if not is_noteworthy(self._published, alternatives):
            return []
        self._published = alternatives
        return [retained(topics.alternatives(self._stream), alternatives)]

    def withdraw(self) -> list[Effect]:
        """Publish an empty list: the best route of a stream planned with others depends on theirs."""
        self._last_job = None
        if self._published is None or not self._published.thresholds:
            return []
        self._published = self._published.model_copy(update={"thresholds": ()})
        return [retained(topics.alternatives(self._stream), self._published)]

    def clear(self) -> None:
        """Drop the thresholds and the job when the plan ends."""
        self._last_job = self._published = None
