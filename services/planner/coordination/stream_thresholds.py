"""Thresholds of the plan that one stream runs: when they are computed, and what was published."""

from services.planner.coordination.effects import Effect, retained
from services.planner.decisions.switching_ranges import Survey, is_news
from shared.bus import topics
from shared.messages.alternatives import Alternatives

# Pause between two computations of a plan's thresholds.
SURVEY_EVERY_S = 2.0


class StreamThresholds:
    """The last survey of one stream's plan and the thresholds that followed. Only the methods change them."""

    def __init__(self, stream: str) -> None:
        """Start without thresholds."""
        self._stream = stream
        self._surveyed: Survey | None = None
        self._published: Alternatives | None = None
        self._next_survey_at_s = 0.0

    @property
    def published(self) -> Alternatives | None:
        """The thresholds published last."""
        return self._published

    @property
    def is_empty(self) -> bool:
        """Neither a survey nor thresholds belong to the plan in force."""
        return self._surveyed is None and self._published is None

    def is_due(self, now_s: float) -> bool:
        """Return whether the pause since the last survey is over."""
        return now_s >= self._next_survey_at_s

    def start(self, survey: Survey, now_s: float) -> bool:
        """Note a survey as started; return False if it is the same as the last one."""
        if survey == self._surveyed:
            return False
        self._surveyed, self._next_survey_at_s = survey, now_s + SURVEY_EVERY_S
        return True

    def found(self, alternatives: Alternatives) -> list[Effect]:
        """Publish thresholds that have moved."""
        if not is_news(self._published, alternatives):
            return []
        self._published = alternatives
        return [retained(topics.alternatives(self._stream), alternatives)]

    def withdraw(self) -> list[Effect]:
        """Publish an empty list: the best route of a stream planned with others depends on theirs."""
        self._surveyed = None
        if self._published is None or not self._published.thresholds:
            return []
        self._published = self._published.model_copy(update={"thresholds": ()})
        return [retained(topics.alternatives(self._stream), self._published)]

    def clear(self) -> None:
        """Forget everything about a plan that is no longer in force."""
        self._surveyed = self._published = None
