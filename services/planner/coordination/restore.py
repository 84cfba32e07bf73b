"""State of the planner read from the documents that it wrote before it was restarted."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from services.planner.coordination.planned_stream import PlannedStream
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.shadow_reports import read_record
from services.planner.decisions.candidates import PlanInForce
from services.planner.problems.policies import PolicyRefusal, parse_policy_request
from services.planner.problems.snapshot import Change, PolicySet
from shared.messages.base import MessageError
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest, ModelVersion
from shared.messages.streams import CommittedPlan, StreamDeclaration
from shared.policy import Policy, QueueDiscipline

_LOGGER = logging.getLogger(__name__)

# A calibration replaces records of shadow checks, so it comes before them. A plan is judged under its stream's policy,
# and takes over an epoch that is not used yet, so it comes between the two.
_ORDER = (Kind.MANIFEST, Kind.VERSION, Kind.CALIBRATION, Kind.SHADOW, Kind.STREAM, Kind.POLICY, Kind.PLAN, Kind.EPOCH)


@dataclass(slots=True)
class RestoredState:
    """Everything that the documents hold.

    Attributes:
        origin: name of the planner.
        changes: to be applied to an empty fleet, in order.
        states: of streams, with policies, plans in force and epochs.
        policies: in force, by stream.
    """

    origin: str
    changes: list[Change] = field(default_factory=list)
    states: dict[str, PlannedStream] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)

    def state(self, stream: str) -> PlannedStream:
        """Return a stream's state, made if its name is new."""
        return self.states.setdefault(stream, PlannedStream(stream, self.origin))


def restore(documents: Iterable[Document], origin: str) -> RestoredState:
    """Read documents; those that cannot be read are logged and left out.

    Args:
        documents: oldest first.
        origin: name of the planner, for the events of the restored streams.
    """
    restored = RestoredState(origin)
    for document in sorted(documents, key=lambda each: _ORDER.index(each.kind)):
        try:
            _read(document, restored)
        except (MessageError, ValueError) as error:
            _LOGGER.error("%s %s on disk cannot be read and is left out: %s", document.kind, document.key, error)
    return restored


def adopted(plan: CommittedPlan, policy: Policy) -> PlanInForce:
    """Return a plan of an earlier process as the one in force; the problem for which it was chosen is lost.

    Args:
        plan: as committed.
        policy: of its stream, now. The plan counts as judged under it, except for the settings that the plan carries
            itself: the earlier process may have stopped after a new policy and before the plan that follows from it.
    """
    disciplines = {discipline.value: discipline for discipline in QueueDiscipline}
    judged = replace(
        policy,
        queue=disciplines.get(plan.queue, policy.queue),
        max_in_flight=plan.max_in_flight,
        retry_limit=plan.retry_limit,
        deadline_ms=plan.deadline_ms,
        transport=plan.transport,
    )
    return PlanInForce(
        plan.epoch, plan.model, plan.source, plan.live, plan.routes, judged, jobs=plan.jobs, version=plan.version
    )


def _read(document: Document, restored: RestoredState) -> None:
    key, value = document.key, document.value
    match document.kind:
        case Kind.MANIFEST:
            restored.changes.append(Manifest.decode(value))
        case Kind.VERSION:
            restored.changes.append(ModelVersion.decode(value))
        case Kind.CALIBRATION:
            restored.changes.append(Calibration.decode(value))
        case Kind.SHADOW:
            restored.changes.append(read_record(value))
        case Kind.STREAM:
            restored.changes.append(StreamDeclaration.decode(value))
            restored.state(key).declare()
        case Kind.POLICY:
            request = parse_policy_request(value)
            if isinstance(request, PolicyRefusal):
                raise ValueError("; ".join(request.reasons))
            restored.state(key).policy.restored(request.revision, value)
            restored.policies[key] = request.policy
            restored.changes.append(PolicySet(key, request.policy))
        case Kind.PLAN:
            plan = CommittedPlan.decode(value)
            # The epoch of the plan is given out by this; a later number that was reserved follows as its own document.
            restored.state(key).plan_restored(plan, adopted(plan, restored.policies.get(key, Policy())), 0.0)
        case Kind.EPOCH:
            restored.state(key).epoch_restored(int(value))
