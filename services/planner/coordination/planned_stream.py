"""State of one stream: declaration, policy, epochs, the plan in force, and what planning found."""

from collections.abc import Sequence
from dataclasses import replace

from planning.problem.problem import Problem
from services.planner.coordination import epoch_events as ev
from services.planner.coordination import epochs as ep
from services.planner.coordination.effects import (
    AbandonProposals,
    AddExclusion,
    AwaitResponse,
    DeleteDocument,
    Effect,
    Persist,
    Publish,
    Replan,
    ReplanAll,
    Step,
    announcement,
    cleared,
    command,
    retained,
)
from services.planner.coordination.invariants import is_sorted, require
from services.planner.coordination.plan_messages import proposed_plan, reroute_message
from services.planner.coordination.planner_store import Document, Kind
from services.planner.coordination.stream_findings import StreamFindings
from services.planner.coordination.stream_measurements import StreamMeasurements
from services.planner.coordination.stream_policy import PolicyVerdict, StreamPolicy
from services.planner.coordination.stream_thresholds import StreamThresholds
from services.planner.decisions.candidates import Candidate, PlanInForce
from services.planner.decisions.causes import Cause
from services.planner.decisions.committed_routes import devices_of
from services.planner.decisions.cost_history import CostHistory
from services.planner.decisions.damping import Departure, is_return, remember
from services.planner.decisions.replan import RerouteDecision
from services.planner.problems.planning_jobs import Answer
from services.planner.problems.snapshot import FleetSnapshot
from shared.bus import topics
from shared.messages.events import EventKind, Reroute, RerouteCause
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan, MeasuredLatencies, StreamStatus

MAX_REROUTES = 8


class PlannedStream:
    """State of one stream between two events.

    Fields are private. Only methods of this class, and of its three parts, assign to them: one method per event. A
    method returns the steps that follow, in order: effects for the service, and steps for `PlannedStreams` where other
    streams are concerned. `validate` checks what holds after every event:

    - A proposal exists exactly as long as its basis (`_proposed`); the committed plan as long as ``in_force``.
    - The committed plan has routes, and ``in_force`` has its epoch and its routes.
    - Epochs grow: committed < proposed <= the last one given out.
    - Every device of both plans is a holder, so that it gets a Release when an epoch is over.
    - A proposal waits for at least one device; when the last one is ready, it is committed.
    - Only a declared stream has a proposal. (A retained plan can arrive before the declaration.)
    - Warm segments, a threshold job and thresholds exist only beside a committed plan.
    - Reroutes and departures are ordered from old to new.

    Attributes:
        policy: the document in force, and the one that waits to be judged.
        findings: the reasons in the status.
        thresholds: of the plan in force.
    """

    def __init__(self, stream: str, origin: str, last_epoch: int = 0) -> None:
        """Start undeclared, without a plan, under the default policy.

        Args:
            stream: its name.
            origin: name of the planner, for events.
            last_epoch: the highest epoch ever given out for this name.
        """
        self.policy = StreamPolicy(stream, origin)
        self.findings = StreamFindings(stream, origin)
        self.thresholds = StreamThresholds(stream)
        self.measurements = StreamMeasurements(stream)
        self._origin = origin
        self._epochs = ep.Epochs(stream, last_epoch)
        self._is_declared = False
        # The plans in force and proposed, each with the problem and the policy for which it was chosen.
        self._in_force: PlanInForce | None = None
        self._proposed: PlanInForce | None = None
        self._departures: tuple[Departure, ...] = ()
        # The next reroute gets an earlier cause if the cooldown has held it back, or if a device has rejected a plan.
        self._held_cause: Cause | None = None
        self._rejection = ""
        # The last problem and its answer. Of streams planned together, the first one keeps it.
        self._solved: tuple[Problem, Answer] | None = None
        self._costs = CostHistory()
        self._published_status: StreamStatus | None = None
        self._reroutes: tuple[Reroute, ...] = ()

    @property
    def name(self) -> str:
        """Name of the stream."""
        return self._epochs.stream

    @property
    def epochs(self) -> ep.Epochs:
        """The committed plan, the proposal, and the epochs given out."""
        return self._epochs

    @property
    def is_declared(self) -> bool:
        """An application has declared the stream and not withdrawn it."""
        return self._is_declared

    @property
    def in_force(self) -> PlanInForce | None:
        """The committed plan with the problem for which it was chosen."""
        return self._in_force

    def unheard_devices(self, snapshot: FleetSnapshot) -> set[str]:
        """Return the devices of a restored plan whose presence has not arrived since the planner's start.

        Their retained presence may still be on its way. Without them the plan would be replaced for nothing.
        """
        present = self._in_force
        if present is None or present.problem is not None or self.policy.request is not None:
            return set()
        return {present.source, *devices_of(present.routes)} - snapshot.devices.keys()

    @property
    def coming(self) -> CommittedPlan | None:
        """The plan that is being prepared, else the one in force."""
        proposal = self._epochs.proposal
        return self._epochs.committed if proposal is None else proposal.plan

    @property
    def costs(self) -> CostHistory:
        """Past costs of the routes in force and their rivals; of streams planned together, the first one keeps it."""
        return self._costs

    @property
    def departures(self) -> tuple[Departure, ...]:
        """Routes that were left lately, oldest first."""
        return self._departures

    @property
    def reroutes(self) -> tuple[Reroute, ...]:
        """The last `MAX_REROUTES` since the planner's start, oldest first."""
        return self._reroutes

    # Declaration and restart

    def declare(self) -> None:
        """Note that an application has declared the stream."""
        self._is_declared = True

    def withdraw(self, now_s: float) -> list[Step]:
        """Release every device. `PlannedStreams` then starts a new state with the same last epoch."""
        self._is_declared = False
        return self.advance(ev.Withdraw(), now_s)

    def epoch_restored(self, epoch: int) -> None:
        """Never give out ``epoch`` or a lower one again."""
        self._epochs = self._epochs.at_least(epoch)

    def plan_restored(self, plan: CommittedPlan, basis: PlanInForce, now_s: float) -> bool:
        """Take a retained or stored plan as the one in force; return whether it is.

        During a proposal only its epoch counts, and a plan with an epoch that is known already counts for nothing.
        """
        self._epochs, _ = ep.advance(self._epochs, ev.PlanSeen(plan), now_s)
        if self._epochs.committed is not plan:
            return False
        self._in_force = basis
        return True

    def plan_seen(self, plan: CommittedPlan, basis: PlanInForce, now_s: float) -> list[Step]:
        """Take a retained plan that this planner has committed before it lost its database."""
        if plan.epoch <= self._epochs.last_epoch:
            return []
        is_in_force = self.plan_restored(plan, basis, now_s)
        steps: list[Step] = [Persist(Document(Kind.EPOCH, self.name, str(self._epochs.last_epoch).encode()))]
        if is_in_force:
            steps += [Persist(Document(Kind.PLAN, self.name, plan.encode())), Replan(self.name, now_s)]
        return steps

    # Answers and decisions

    def solved(self, problem: Problem, answer: Answer) -> None:
        """Keep the answer to the last problem."""
        self._solved = (problem, answer)

    def costs_seen(self, costs: CostHistory) -> None:
        """Keep the costs with the present ones."""
        self._costs = costs

    def predicted(self, problem: Problem, cost: float | None) -> None:
        """Note the present cost of the routes in force, by which measured latencies are judged."""
        self.measurements.predicted(problem, cost)

    def latencies_seen(self, measured: MeasuredLatencies, now_s: float) -> Sequence[Step]:
        """Take latencies that the source has measured."""
        return self.measurements.seen(measured, self._in_force, now_s)

    def answer_to(self, problem: Problem) -> Answer | None:
        """Return the kept answer if it belongs to this problem."""
        return self._solved[1] if self._solved is not None and self._solved[0] == problem else None

    def keep(self, candidate: Candidate, problem: Problem) -> list[Step]:
        """Stay with the plan in force, which is judged under the candidate's policy from now on."""
        self._held_cause, self._rejection = None, ""
        if self._in_force is not None:
            # A restored plan has no problem, so later changes are measured against the present one.
            basis = self._in_force.problem or problem
            self._in_force = replace(self._in_force, policy=candidate.policy, problem=basis)
        return []

    def postpone(self, cause: Cause, until_s: float) -> list[Step]:
        """Decide again after the cooldown; the reroute then has the first cause."""
        self._held_cause = self._held_cause or cause
        return [Replan(self.name, until_s)]

    def propose(
        self, candidate: Candidate, decision: RerouteDecision, problem: Problem, manifest: Manifest, now_s: float
    ) -> list[Step]:
        """Ask the devices of the chosen routes to prepare them.

        Args:
            candidate: the stream's part of the answer.
            decision: the routes, and why they are chosen.
            problem: of all streams planned together, with every choice open.
            manifest: of the stream's model.
            now_s: planner's clock.
        """
        decision = self._with_earlier_cause(decision)
        plan = proposed_plan(candidate, decision, manifest, now_s)
        self._proposed = PlanInForce(
            plan.epoch,
            plan.model,
            plan.source,
            plan.live,
            plan.routes,
            candidate.policy,
            problem,
            plan.jobs,
            plan.version,
        )
        return self.advance(ev.Propose(plan, manifest, decision), now_s)

    # Epochs

    def abandon(self, now_s: float) -> list[Step]:
        """End the proposal, if there is one."""
        return [] if self._epochs.proposal is None else self.advance(ev.Abandon(), now_s)

    def advance(self, event: ev.EpochEvent, now_s: float) -> list[Step]:
        """Feed an event to the epochs, and translate their commands into steps.

        Raises:
            IllegalTransitionError: the epochs' table does not list the event for the present phase.
        """
        self._epochs, commands = ep.advance(self._epochs, event, now_s)
        return [step for each in commands for step in self._steps_of(each, now_s)]

    # Publications

    def status(self) -> StreamStatus:
        """Return the status message."""
        committed, verdict = self._epochs.committed, self.policy.verdict
        return StreamStatus(
            stream=self.name,
            state=self.findings.state(is_running=committed is not None),
            reasons=self.findings.reasons(is_running=committed is not None),
            epoch=0 if committed is None else committed.epoch,
            policy_revision=verdict.revision,
            policy_accepted=verdict.accepted,
            policy_reasons=verdict.reasons,
        )

    def changed_status(self) -> list[Effect]:
        """Return the status if it has changed, and if an application has declared the stream or sent it a policy."""
        status = self.status()
        # A policy can be sent for a stream that is not declared yet; its sender waits for the outcome in the status.
        is_awaited = self._is_declared or self.policy.verdict != PolicyVerdict()
        return self._publish_status(status) if is_awaited and status != self._published_status else []

    def republished(self) -> list[Effect]:
        """Return every retained message of the stream but its declaration."""
        effects: list[Effect] = []
        if self.policy.document:
            effects.append(Publish(topics.policy(self.name), self.policy.document, retain=True))
        if self._epochs.committed is not None:
            effects.append(retained(topics.plan(self.name), self._epochs.committed))
        if self.thresholds.published is not None:
            effects.append(retained(topics.alternatives(self.name), self.thresholds.published))
        return effects + (self._publish_status(self.status()) if self._is_declared else [])

    def validate(self) -> None:
        """Check the invariants of the class.

        Raises:
            InvariantError: one is broken.
        """
        self.findings.validate()
        self.measurements.validate()
        epochs, subject = self._epochs, f"stream {self.name}"
        committed, proposal, in_force = epochs.committed, epochs.proposal, self._in_force
        require((proposal is None) == (self._proposed is None), subject, "a proposal and its basis exist together")
        require((committed is None) == (in_force is None), subject, "a committed plan and its basis exist together")
        if committed is not None and in_force is not None:
            require(bool(committed.routes), subject, "a committed plan has routes")
            require(in_force.epoch == committed.epoch, subject, "the basis has the epoch of the committed plan")
            require(in_force.routes == committed.routes, subject, "the basis has the routes of the committed plan")
            require(committed.epoch <= epochs.last_epoch, subject, "a committed epoch was given out")
            require(epochs.holders.issuperset(devices_of(committed.routes)), subject, "devices in use are holders")
        else:
            require(not epochs.warm, subject, "warm segments belong to a committed plan")
            require(self.thresholds.is_empty, subject, "thresholds belong to a committed plan")
        if proposal is not None:
            previous = 0 if committed is None else committed.epoch
            require(previous < proposal.plan.epoch <= epochs.last_epoch, subject, "epochs grow")
            require(epochs.holders.issuperset(proposal.segments), subject, "devices that prepare are holders")
            require(bool(proposal.silent), subject, "a proposal waits for a device")
            require(self._is_declared, subject, "only a declared stream has a proposal")
        require(len(self._reroutes) <= MAX_REROUTES, subject, f"at most {MAX_REROUTES} reroutes are kept")
        require(is_sorted([each.epoch for each in self._reroutes]), subject, "reroutes are ordered")
        require(is_sorted([each.at_s for each in self._departures]), subject, "departures are ordered")

    def _steps_of(self, each: ev.EpochCommand, now_s: float) -> list[Step]:
        match each:
            case ev.ReserveEpoch(epoch):
                return [Persist(Document(Kind.EPOCH, self.name, str(epoch).encode()))]
            case ev.SendPrepare(device, prepare):
                return [AwaitResponse(device), command(topics.commands(device), prepare)]
            case ev.SendRelease(device, release):
                return [command(topics.commands(device), release)]
            case ev.Commit():
                return self._commit(each, now_s)
            case ev.Exclude():
                return self._exclude(each, now_s)
            case ev.PlanAgain():
                # Streams planned together move together: without this one, the routes of the others may not fit.
                together = () if self._proposed is None else self._proposed.together
                self._proposed = None
                return [Replan(self.name, now_s), AbandonProposals(together)]
            case ev.ClearPlan():
                self._in_force = self._proposed = None
                self.thresholds.clear()
                cleared_topics = (topics.plan(self.name), topics.alternatives(self.name))
                return [DeleteDocument(Kind.PLAN, self.name), *map(cleared, cleared_topics)]

    def _commit(self, commit: ev.Commit, now_s: float) -> list[Step]:
        plan, reroute, chosen = commit.plan, commit.reroute, self._proposed
        if chosen is None:
            raise RuntimeError(f"stream {plan.stream}: epoch {plan.epoch} was committed and never proposed")
        self.measurements.committed(reroute, self._in_force, replace(chosen, epoch=plan.epoch), now_s)
        if self._in_force is not None:
            returned = is_return(plan.routes, self._departures, now_s)
            self._departures = remember(self._departures, Departure(now_s, self._in_force.routes, returned))
        self._in_force, self._proposed = replace(chosen, epoch=plan.epoch), None
        # The causes of earlier delays and rejections do not explain the next reroute.
        self._held_cause, self._rejection = None, ""
        message = reroute_message(plan, reroute, commit.previous, chosen.policy.objective.value)
        self._reroutes = (*self._reroutes, message)[-MAX_REROUTES:]
        text = f"stream {plan.stream}, epoch {plan.epoch}: {reroute.reason}"
        data = message.model_dump(mode="json")
        # The plan changes the memory and the computing time that are left for every other stream.
        return [
            ReplanAll(),
            Persist(Document(Kind.PLAN, plan.stream, plan.encode())),
            retained(topics.plan(plan.stream), plan),
            announcement(self._origin, EventKind.REROUTE, text, now_s, stream=plan.stream, data=data),
        ]

    def _exclude(self, exclude: ev.Exclude, now_s: float) -> list[Step]:
        device, reason = exclude.exclusion.device, exclude.exclusion.reason
        self._rejection = f"{device} rejected a plan before ({reason})"
        text = f"stream {self.name}: {device} cannot get ready: {reason}"
        data = {"cause": None if exclude.cause is None else exclude.cause.value}
        event = announcement(self._origin, EventKind.REJECTION, text, now_s, stream=self.name, device=device, data=data)
        return [AddExclusion(exclude.exclusion), event]

    def _publish_status(self, status: StreamStatus) -> list[Effect]:
        self._published_status = status
        return [retained(topics.status(self.name), status)]

    def _with_earlier_cause(self, reroute: RerouteDecision) -> RerouteDecision:
        """Return the reroute with its first cause: a rejection, or the change that the cooldown has delayed."""
        cause = reroute.cause
        if self._rejection:
            rejected = Cause(RerouteCause.REJECTED, self._rejection, cause.at_s)
            return replace(reroute, cause=rejected, reason=f"{self._rejection}; {reroute.reason}")
        if self._held_cause is not None and self._held_cause.cause is cause.cause:
            return replace(reroute, cause=replace(cause, at_s=self._held_cause.at_s))
        return reroute
