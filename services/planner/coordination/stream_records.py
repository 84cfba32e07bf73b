"""Every stream's record: when it is to be planned, and how its epochs go on. No I/O, no clock."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from planning.problem.problem import Problem
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import DeleteDocument, Effect, Persist, Publish, cleared, command, retained
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.posing import circumstances_of, pose, present_problem
from services.planner.coordination.response_timeouts import Silence
from services.planner.coordination.stream_record import MAX_REROUTES, StreamRecord, reroute_message
from services.planner.decisions.committed_routes import devices_of
from services.planner.decisions.damping import Departure, is_return, remember
from services.planner.problems.groups import group_of
from services.planner.problems.planning_jobs import Answer, PlanningJob
from services.planner.problems.problem_from_snapshot import Circumstances, Exclusion
from services.planner.problems.profile_requests import Measurements
from services.planner.problems.readiness import Waiting
from services.planner.problems.snapshot import FleetSnapshot
from shared.bus import topics
from shared.messages.events import Event, EventKind

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
"""Pause after a strategy has failed."""


@dataclass(slots=True)
class StreamRecords:
    """Every stream's record, and when it is to be planned.

    Attributes:
        name: of the planner, the origin of events.
        records: by stream.
        exclusions: choices that devices have rejected lately.
        due: when a stream is to be looked at next; absent if nothing has changed.
        silence: devices that owe an answer.
    """

    name: str
    records: dict[str, StreamRecord] = field(default_factory=dict)
    exclusions: list[Exclusion] = field(default_factory=list)
    due: dict[str, float] = field(default_factory=dict)
    silence: Silence = field(default_factory=Silence)

    def record(self, stream: str) -> StreamRecord:
        """Return the record of a stream, made if need be."""
        return self.records.setdefault(stream, StreamRecord(ep.Epochs(stream)))

    def replace(self, record: StreamRecord) -> None:
        """Forget what was known of a stream."""
        stream = record.epochs.stream
        self.records[stream] = record
        self.due.pop(stream, None)
        self.exclusions = [exclusion for exclusion in self.exclusions if exclusion.stream != stream]

    def mark(self, stream: str, at_s: float) -> None:
        """Have a stream looked at, no later than ``at_s``."""
        self.due[stream] = min(at_s, self.due.get(stream, at_s))

    def mark_all(self, at_s: float) -> None:
        """Have every stream looked at."""
        for stream in self.records:
            self.mark(stream, at_s)

    def job(self, stream: str, snapshot: FleetSnapshot, measurements: Measurements, now_s: float) -> PlanningJob | None:
        """Return what is to be solved for a stream and those that are planned with it; they are not due any more then.

        None if nothing can be (its record says why) or needs to be.
        """
        posed = pose(stream, self.records, self.exclusions, snapshot, measurements, now_s)
        self.records[stream].waiting = posed.reasons if isinstance(posed, Waiting) else ()
        if not isinstance(posed, PlanningJob):
            return None
        for member in posed.streams if posed.request is None else ():
            self.records[member].waiting = ()
            self.due.pop(member, None)
        return posed

    def problem(self, stream: str, snapshot: FleetSnapshot, now_s: float) -> Problem | Waiting | None:
        """Return the problem in which a stream is planned now, or what it waits for; None if it is not declared."""
        return present_problem(stream, self.records, self.exclusions, snapshot, now_s)

    def circumstances(self, stream: str, snapshot: FleetSnapshot, now_s: float) -> Circumstances:
        """Return what bears on the problem of a stream that is planned for itself."""
        return circumstances_of((stream,), self.records, self.exclusions, snapshot, now_s)

    def solved_before(self, job: PlanningJob) -> Answer | None:
        """Return the answer to a job whose problem has just been solved."""
        solved = self.records[job.stream].solved
        return solved[1] if solved is not None and job.request is None and solved[0] == job.problem else None

    def advance(
        self, record: StreamRecord, event: ep.EpochEvent, snapshot: FleetSnapshot, now_s: float
    ) -> list[Effect]:
        """Feed an event to a stream's epochs and translate what they ask for."""
        record.epochs, commands = ep.advance(record.epochs, event, now_s)
        effects: list[Effect] = []
        for each in commands:
            effects += self._perform(record, each, snapshot, now_s)
        return effects

    def statuses(self) -> list[Effect]:
        """Publish every status that has changed."""
        effects: list[Effect] = []
        for stream, record in self.records.items():
            if record.is_news:
                record.published = record.status()
                effects.append(retained(topics.status(stream), record.published))
        return effects

    def event(self, kind: EventKind, text: str, now_s: float, **details: object) -> Publish:
        """Return an event to publish, logged as well."""
        logger.info("%s", text)
        return command(topics.events(), Event(kind=kind, at_s=now_s, origin=self.name, text=text, **details))

    def expire_exclusions(self, now_s: float) -> None:
        """Drop exclusions whose time is over; their streams are planned again."""
        for exclusion in [each for each in self.exclusions if each.until_s <= now_s]:
            self.exclusions.remove(exclusion)
            self.mark(exclusion.stream, now_s)

    def abandon_on(self, device: str, snapshot: FleetSnapshot, now_s: float) -> list[Effect]:
        """End the proposals of fellows for which a stream that has lost a device in use would have to wait."""
        effects: list[Effect] = []
        for stream, record in self.records.items():
            if record.epochs.phase is ep.EpochPhase.RUNNING and stream in snapshot.streams:
                plan = record.epochs.committed
                if plan is not None and device in devices_of(plan.routes):
                    effects += self._abandon(group_of(stream, snapshot), snapshot, now_s)
        return effects

    def _abandon(self, streams: Iterable[str], snapshot: FleetSnapshot, now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for stream in streams:
            record = self.records.get(stream)
            if record is not None and record.epochs.proposal is not None:
                effects += self.advance(record, ep.Abandon(), snapshot, now_s)
        return effects

    def _perform(
        self, record: StreamRecord, each: ep.EpochCommand, snapshot: FleetSnapshot, now_s: float
    ) -> list[Effect]:
        stream = record.epochs.stream
        match each:
            case ep.ReserveEpoch(epoch):
                return [Persist(Document(Kind.EPOCH, stream, str(epoch).encode()))]
            case ep.SendPrepare(device, prepare):
                self.silence.asked(device, now_s)
                return [command(topics.commands(device), prepare)]
            case ep.SendRelease(device, release):
                return [command(topics.commands(device), release)]
            case ep.Commit():
                return self._commit(record, each, snapshot, now_s)
            case ep.Exclude(exclusion):
                self.exclusions.append(exclusion)
                record.rejection = f"{exclusion.device} rejected a plan before ({exclusion.reason})"
                text = f"stream {stream}: {exclusion.device} cannot get ready: {exclusion.reason}"
                data = {"cause": None if each.cause is None else each.cause.value}
                return [self.event(EventKind.REJECTION, text, now_s, stream=stream, device=exclusion.device, data=data)]
            case ep.PlanAgain():
                dropped, record.next_in_force = record.next_in_force, None
                self.mark(stream, now_s)
                return [] if dropped is None else self._abandon(dropped.together, snapshot, now_s)
            case ep.ClearPlan():
                record.in_force = record.next_in_force = None
                record.surveyed = record.alternatives = None
                return [
                    DeleteDocument(Kind.PLAN, stream),
                    *map(cleared, (topics.plan(stream), topics.alternatives(stream))),
                ]

    def _commit(self, record: StreamRecord, commit: ep.Commit, snapshot: FleetSnapshot, now_s: float) -> list[Effect]:
        plan, reroute, chosen = commit.plan, commit.reroute, record.next_in_force
        if chosen is None:
            raise RuntimeError(f"stream {plan.stream}: epoch {plan.epoch} was committed and never proposed")
        if record.in_force is not None:
            returned = is_return(plan.routes, record.departures, now_s)
            record.departures = remember(record.departures, Departure(now_s, record.in_force.routes, returned))
        record.in_force, record.next_in_force = replace(chosen, epoch=plan.epoch), None
        record.held, record.rejection = None, ""
        objective = snapshot.policy(plan.stream).objective.value
        message = reroute_message(plan, reroute, commit.previous, objective)
        record.reroutes = (*record.reroutes, message)[-MAX_REROUTES:]
        self.mark_all(now_s)
        text = f"stream {plan.stream}, epoch {plan.epoch}: {reroute.reason}"
        return [
            Persist(Document(Kind.PLAN, plan.stream, plan.encode())),
            retained(topics.plan(plan.stream), plan),
            self.event(EventKind.REROUTE, text, now_s, stream=plan.stream, data=message.model_dump(mode="json")),
        ]
