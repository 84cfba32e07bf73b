"""The record of a run: its phases, requests and reroutes, from which the summary is computed."""

from dataclasses import dataclass

from services.cli.render.fleet_view import is_encoded
from services.cli.testbed.collector_counts import CollectorCounts
from services.cli.testbed.conditions import Conditions
from services.cli.testbed.predictions import PredictionBasis
from shared.messages.events import Reroute
from shared.messages.requests import Outcome, OutcomeStatus


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request as the client saw it; times are wall clock.

    Attributes:
        request_id: its id.
        submitted_at_s: when it was given to the client library.
        finished_at_s: when its outcome arrived, or when the client stopped waiting.
        outcome: None if the request is lost.
        mismatch: whether its outputs differ from the whole model's.
        file: name of the file that it carried; empty if it is not known.
    """

    request_id: str
    submitted_at_s: float
    finished_at_s: float
    outcome: Outcome | None
    mismatch: bool = False
    file: str = ""

    @property
    def left_out(self) -> str:
        """Why its result came without outputs, so that nothing can be compared; empty if they came."""
        outcome = self.outcome
        came = outcome is None or outcome.status is not OutcomeStatus.OK or bool(outcome.outputs)
        return "" if came or outcome is None else outcome.error

    @property
    def is_wrong(self) -> bool:
        """True if its outputs came and differ from the whole model's."""
        return self.mismatch and not self.left_out

    @property
    def is_encoded_mismatch(self) -> bool:
        """True if its outputs differ and a feature map travelled in a lossy encoding."""
        return self.mismatch and self.outcome is not None and is_encoded(self.outcome)


@dataclass(frozen=True, slots=True)
class PhaseRecord:
    """A phase as it was run; times are wall clock.

    Attributes:
        name: of the phase.
        condition: description of its conditions.
        conditions: its true conditions.
        started_at_s, ended_at_s: its bounds, the end exclusive.
        expect_reroute: whether the run fails without a reroute in it.
    """

    name: str
    condition: str
    conditions: Conditions
    started_at_s: float
    ended_at_s: float
    expect_reroute: bool = False

    def contains(self, at_s: float) -> bool:
        """Return whether a time lies within the phase."""
        return self.started_at_s <= at_s < self.ended_at_s


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run.

    Attributes:
        phases: in order.
        requests: all that were submitted, in order.
        reroutes: all reroutes of the stream, in order of their epochs.
        basis: the figures for predictions; None if the source has no profile of the model.
        collector: None if the collector was not asked.
        notes: faults of the run itself, such as processes that ended.
    """

    phases: tuple[PhaseRecord, ...]
    requests: tuple[RequestRecord, ...]
    reroutes: tuple[Reroute, ...] = ()
    basis: PredictionBasis | None = None
    collector: CollectorCounts | None = None
    notes: tuple[str, ...] = ()
