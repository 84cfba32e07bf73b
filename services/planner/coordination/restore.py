"""From the documents of an earlier life to what a planner knows. Pure."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from services.planner.coordination import epochs as ep
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.shadow_reports import read_record
from services.planner.coordination.stream_record import PolicyVerdict, StreamRecord
from services.planner.decisions.candidates import InForce
from services.planner.problems.policies import PolicyRefusal, parse_request
from services.planner.problems.snapshot import Change, PolicySet
from shared.messages.base import MessageError
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, StreamDeclaration
from shared.policy import Policy, QueueDiscipline

logger = logging.getLogger(__name__)

_ORDER = (Kind.MANIFEST, Kind.CALIBRATION, Kind.SHADOW, Kind.STREAM, Kind.POLICY, Kind.PLAN, Kind.EPOCH)


@dataclass(slots=True)
class RestoredState:
    """What an earlier life has kept.

    Attributes:
        changes: to be applied to an empty snapshot, in order.
        library: models whose files are in the library.
        records: of streams, with plans in force and epochs given out.
    """

    changes: list[Change] = field(default_factory=list)
    library: set[str] = field(default_factory=set)
    records: dict[str, StreamRecord] = field(default_factory=dict)

    def record(self, stream: str) -> StreamRecord:
        """Return a stream's record, made if need be."""
        return self.records.setdefault(stream, StreamRecord(ep.Epochs(stream)))


def restore(documents: Iterable[Document]) -> RestoredState:
    """Read documents; what cannot be read any more is logged and left out."""
    restored = RestoredState()
    policies: dict[str, Policy] = {}
    for document in sorted(documents, key=lambda each: _ORDER.index(each.kind)):
        try:
            _read(document, restored, policies)
        except (MessageError, ValueError) as error:
            logger.error("%s %s on disk cannot be read and is left out: %s", document.kind, document.key, error)
    return restored


def adopted(plan: CommittedPlan, policy: Policy) -> InForce:
    """Return a plan of an earlier life as the one in force; for which problem it was chosen is not known.

    Args:
        plan: as committed.
        policy: of its stream, now. The plan counts as judged under it but for the settings that it carries itself: an
            earlier life may have ended between a new policy and the plan that follows from it.
    """
    known = {discipline.value: discipline for discipline in QueueDiscipline}
    judged = replace(
        policy,
        queue=known.get(plan.queue, policy.queue),
        max_in_flight=plan.max_in_flight,
        retry_limit=plan.retry_limit,
        deadline_ms=plan.deadline_ms,
    )
    return InForce(plan.epoch, plan.model, plan.source, plan.live, plan.routes, judged, jobs=plan.jobs)


def _read(document: Document, restored: RestoredState, policies: dict[str, Policy]) -> None:
    key, value = document.key, document.value
    match document.kind:
        case Kind.MANIFEST:
            restored.changes.append(Manifest.decode(value))
            restored.library.add(key)
        case Kind.CALIBRATION:
            restored.changes.append(Calibration.decode(value))
        case Kind.SHADOW:
            restored.changes.append(read_record(value))
        case Kind.STREAM:
            restored.changes.append(StreamDeclaration.decode(value))
            restored.record(key).declared = True
        case Kind.POLICY:
            request = parse_request(value)
            if isinstance(request, PolicyRefusal):
                raise ValueError("; ".join(request.reasons))
            record = restored.record(key)
            record.policy_document, record.verdict = value, PolicyVerdict(request.revision)
            policies[key] = request.policy
            restored.changes.append(PolicySet(key, request.policy))
        case Kind.PLAN:
            plan = CommittedPlan.decode(value)
            record = restored.record(key)
            record.epochs, _ = ep.advance(record.epochs, ep.PlanSeen(plan), 0.0)
            record.in_force = adopted(plan, policies.get(key, Policy()))
        case Kind.EPOCH:
            record = restored.record(key)
            record.epochs = record.epochs.at_least(int(value))
