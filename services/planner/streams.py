"""Planning every stream: when, on which problem, and what follows from the answer. No I/O, no clock."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from services.planner import epochs as ep
from services.planner.alternatives import Survey, is_news, warm_segments
from services.planner.causes import Cause
from services.planner.effects import Effect, Forget, Persist, Publish, cleared, command, retained
from services.planner.jobs import Answer, Job
from services.planner.problem import Circumstances, Exclusion, Waiting, build_problem
from services.planner.records import MAX_REROUTES, StreamRecord, in_force_of, plan_message, reroute_message, subjects
from services.planner.replan import Candidate, Departure, Hold, Keep, Reroute, decide, is_return, remember
from services.planner.routes import TiledRouteError, devices_of, to_message
from services.planner.sharing import busy_shares, held_bytes
from services.planner.snapshot import PolicySet, Snapshot, apply
from services.planner.store import Document, Kind
from shared.bus import topics
from shared.messages.alternatives import Alternatives
from shared.messages.events import Event, EventKind, RerouteCause
from shared.messages.streams import CommittedPlan
from shared.plan.plan import Infeasible, Plan
from shared.plan.problem import Problem

logger = logging.getLogger(__name__)

SURVEY_EVERY_S = 2.0
"""Pause between two computations of a plan's thresholds."""
RETRY_AFTER_S = 5.0
"""Pause after a strategy has failed."""


@dataclass(slots=True)
class Streams:
    """Every stream's record, and when it is to be planned.

    Attributes:
        name: of the planner, the origin of events.
        records: by stream.
        exclusions: choices that devices have rejected lately.
        due: when a stream is to be looked at next; absent if nothing has changed.
    """

    name: str
    records: dict[str, StreamRecord] = field(default_factory=dict)
    exclusions: list[Exclusion] = field(default_factory=list)
    due: dict[str, float] = field(default_factory=dict)

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

    def job(self, stream: str, snapshot: Snapshot, measuring: Collection[str], now_s: float) -> Job | None:
        """Return what is to be solved for a stream; None if nothing can be (its record says why) or needs to be."""
        record = self.records[stream]
        record.waiting = () if record.declared else ("the stream is not declared",)
        if not record.declared or (record.pending is None and record.epochs.proposal is not None):
            return None
        if record.pending is not None:
            snapshot = apply(snapshot, PolicySet(stream, record.pending.policy), now_s)
        first = record.epochs.committed is None
        circumstances = self._circumstances(stream, snapshot, measuring if first else (), now_s)
        problem = build_problem(snapshot, stream, circumstances)
        open_problem = build_problem(snapshot, stream, replace(circumstances, exclusions=()))
        if isinstance(problem, Waiting) or isinstance(open_problem, Waiting):
            record.waiting = problem.reasons if isinstance(problem, Waiting) else ()
            return None
        return Job(stream, problem, open_problem, record.pending)

    def problem(self, stream: str, snapshot: Snapshot, now_s: float) -> Problem | Waiting | None:
        """Return a stream's problem as it is now, or what it waits for; None if it is not declared."""
        if stream not in snapshot.streams:
            return None
        return build_problem(snapshot, stream, self._circumstances(stream, snapshot, (), now_s))

    def _circumstances(
        self, stream: str, snapshot: Snapshot, measuring: Collection[str], now_s: float
    ) -> Circumstances:
        others = self._other_plans(stream)
        manifests = ((snapshot.manifests.get(plan.model), plan.routes) for plan in others)
        held = held_bytes((manifest, routes) for manifest, routes in manifests if manifest is not None)
        busy = busy_shares(others, snapshot, now_s)
        return Circumstances(now_s, held, busy, tuple(self.exclusions), measuring)

    def solved_before(self, job: Job) -> Answer | None:
        """Return the answer to a job whose problem has just been solved."""
        solved = self.records[job.stream].solved
        return solved[1] if solved is not None and job.request is None and solved[0] == job.problem else None

    def conclude(self, job: Job, answer: Answer, snapshot: Snapshot, now_s: float) -> list[Effect]:
        """Act on the answer to a job under the policy in force."""
        record = self.records[job.stream]
        record.solved = (job.problem, answer)
        declaration = snapshot.streams.get(job.stream)
        if declaration is None or record.epochs.proposal is not None:
            return []
        if record.pending is not None or job.policy != snapshot.policy(job.stream):
            self.mark(job.stream, now_s)
            return []
        effects = self._note_feasibility(record, answer.outcome, now_s)
        plan = answer.outcome if isinstance(answer.outcome, Plan) else answer.fallback
        if plan is None:
            return effects
        policy = answer.relaxed or job.policy
        problem, open_problem = replace(job.problem, policy=policy), replace(job.open_problem, policy=policy)
        try:
            routes = to_message(problem, plan.streams[job.stream])
        except TiledRouteError as error:
            record.infeasible = (f"strategy {plan.strategy}: {error}",)
            return effects
        if not all(snapshot.device(device).online for device in devices_of(routes)):
            self.mark(job.stream, now_s)
            return effects
        candidate = Candidate(problem, job.policy, routes, plan.strategy, declaration.live)
        return effects + self._decide(record, candidate, open_problem, snapshot, now_s)

    def survey(self, snapshot: Snapshot, now_s: float) -> Survey | None:
        """Return a plan whose thresholds are to be computed: one in force since its problem has changed."""
        for stream, record in self.records.items():
            if record.epochs.phase is not ep.Phase.RUNNING or now_s < record.survey_at_s:
                continue
            problem, plan = self.problem(stream, snapshot, now_s), record.epochs.committed
            if not isinstance(problem, Problem) or plan is None or plan.model != problem.streams[0].model:
                continue
            wanted = Survey(plan, problem, self._circumstances(stream, snapshot, (), now_s).busy_shares)
            if wanted != record.surveyed:
                record.surveyed, record.survey_at_s = wanted, now_s + SURVEY_EVERY_S
                return wanted
        return None

    def surveyed(self, asked: Survey, alternatives: Alternatives, snapshot: Snapshot, now_s: float) -> list[Effect]:
        """Publish the thresholds of a plan if they are news, and have the next likely segments kept ready."""
        record = self.records[asked.plan.stream]
        manifest = snapshot.manifests.get(asked.plan.model)
        if record.epochs.committed is not asked.plan or record.epochs.proposal is not None or manifest is None:
            return []
        warm = warm_segments(asked.plan, alternatives, manifest, asked.problem)
        effects = self.advance(record, ep.KeepWarm(warm, manifest), snapshot, now_s)
        if not is_news(record.alternatives, alternatives):
            return effects
        record.alternatives = alternatives
        return [*effects, retained(topics.alternatives(asked.plan.stream), alternatives)]

    def advance(self, record: StreamRecord, event: ep.EpochEvent, snapshot: Snapshot, now_s: float) -> list[Effect]:
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
        return command(topics.EVENTS, Event(kind=kind, at_s=now_s, origin=self.name, text=text, **details))

    def expire_exclusions(self, now_s: float) -> None:
        """Drop exclusions whose time is over; their streams are planned again."""
        for exclusion in [each for each in self.exclusions if each.until_s <= now_s]:
            self.exclusions.remove(exclusion)
            self.mark(exclusion.stream, now_s)

    def _decide(
        self, record: StreamRecord, candidate: Candidate, problem: Problem, snapshot: Snapshot, now_s: float
    ) -> list[Effect]:
        decision = decide(record.in_force, candidate, problem, snapshot, record.departures, now_s)
        match decision:
            case Keep():
                record.held, record.rejection = None, ""
                if record.in_force is not None:
                    basis = record.in_force.problem or problem
                    record.in_force = replace(record.in_force, policy=candidate.policy, problem=basis)
                return []
            case Hold(until_s, cause):
                record.held = record.held or cause
                self.mark(record.epochs.stream, until_s)
                return []
            case Reroute():
                reroute = _with_history(decision, record)
                manifest = snapshot.manifests[candidate.problem.streams[0].model]
                plan = plan_message(candidate, reroute, now_s)
                record.next_in_force = in_force_of(plan, candidate, problem)
                return self.advance(record, ep.Propose(plan, manifest, reroute), snapshot, now_s)

    def _perform(self, record: StreamRecord, each: ep.EpochCommand, snapshot: Snapshot, now_s: float) -> list[Effect]:
        stream = record.epochs.stream
        match each:
            case ep.ReserveEpoch(epoch):
                return [Persist(Document(Kind.EPOCH, stream, str(epoch).encode()))]
            case ep.SendPrepare(device, prepare):
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
                record.next_in_force = None
                self.mark(stream, now_s)
                return []
            case ep.ClearPlan():
                record.in_force = record.next_in_force = None
                record.surveyed = record.alternatives = None
                return [Forget(Kind.PLAN, stream), *map(cleared, (topics.plan(stream), topics.alternatives(stream)))]

    def _commit(self, record: StreamRecord, commit: ep.Commit, snapshot: Snapshot, now_s: float) -> list[Effect]:
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

    def _note_feasibility(self, record: StreamRecord, outcome: Plan | Infeasible, now_s: float) -> list[Effect]:
        if isinstance(outcome, Plan):
            record.infeasible, record.infeasible_subjects = (), frozenset()
            return []
        stream = record.epochs.stream
        rejected = [f"{each.device}: {each.reason}" for each in self.exclusions if each.stream == stream]
        record.infeasible = (*(violation.message for violation in outcome.reasons), *rejected)
        known, record.infeasible_subjects = record.infeasible_subjects, subjects(outcome)
        if known == record.infeasible_subjects:
            return []
        text = f"stream {stream}: no plan is possible: {'; '.join(record.infeasible)}"
        data = {"reasons": list(record.infeasible)}
        return [self.event(EventKind.INFEASIBLE, text, now_s, stream=stream, data=data)]

    def _other_plans(self, stream: str) -> list[CommittedPlan]:
        plans = (record.epochs.committed for other, record in self.records.items() if other != stream)
        return [plan for plan in plans if plan is not None]


def _with_history(reroute: Reroute, record: StreamRecord) -> Reroute:
    """Return the reroute with the cause that was there first: a rejection, or what the cooldown has held back."""
    cause = reroute.cause
    if record.rejection:
        rejected = Cause(RerouteCause.REJECTED, record.rejection, cause.at_s)
        return replace(reroute, cause=rejected, reason=f"{record.rejection}; {reroute.reason}")
    if record.held is not None and record.held.cause is cause.cause:
        return replace(reroute, cause=replace(cause, at_s=record.held.at_s))
    return reroute
