"""Judgement of requested policies: validation, a trial plan, then acceptance or refusal."""

from collections.abc import Collection
from dataclasses import dataclass

from services.planner.coordination.effects import Effect
from services.planner.coordination.fleet_state import FleetState
from services.planner.coordination.planned_streams import PlannedStreams
from services.planner.decisions.committed_routes import tiles_fault
from services.planner.inbound import PolicyDocument
from services.planner.problems.planning_jobs import Answer, PlanningJob
from services.planner.problems.policies import PolicyRefusal, read_request, reservations
from services.planner.problems.snapshot import PolicySet


@dataclass(frozen=True, slots=True)
class PolicyJudge:
    """Applies a policy to the owners of the state; it has no state of its own.

    Snapshot and stream take a policy in the same event, so both have it or neither has.

    Attributes:
        fleet: whose snapshot holds the policies in force.
        streams: whose states hold the requested policies and the verdicts.
        strategies: names that a policy may ask for.
    """

    fleet: FleetState
    streams: PlannedStreams
    strategies: Collection[str]

    def requested(self, message: PolicyDocument, now_s: float, *, own: bool) -> list[Effect]:
        """Read a policy and have it judged; an unsound one is refused, and an empty one means the default policy."""
        stream = message.stream
        known = self.streams.get(stream)
        # The planner's own policy is retained on the broker. It is new only if this planner has lost its database.
        if own and (known is not None or not message.payload):
            return []
        if not message.payload:
            return self._reset(stream, now_s) if known is not None and known.policy.document else []
        request = read_request(message.payload, stream, self.fleet.snapshot, self.strategies)
        if isinstance(request, PolicyRefusal):
            return self.refuse(stream, request, now_s)
        if self.streams.of(stream).policy.requested(request):
            self.streams.replan(stream, now_s)
        return []

    def answered(self, job: PlanningJob, answer: Answer, now_s: float) -> list[Effect]:
        """Judge a policy by the answer to its own problem; no deadline is dropped to make it feasible."""
        request, plan, infeasible = job.request, answer.plan, answer.infeasible(job.stream)
        if request is None or request is not self.streams[job.stream].policy.request:
            return []  # a newer policy waits, or the stream was withdrawn
        if infeasible is not None:
            reasons = tuple(violation.message for violation in infeasible.reasons)
            return self.refuse(job.stream, PolicyRefusal(request.revision, reasons), now_s)
        if plan is not None and (fault := tiles_fault(plan)) is not None:
            tiled = PolicyRefusal(request.revision, (f"strategy {plan.strategy}: {fault}",))
            return self.refuse(job.stream, tiled, now_s)
        # The next job has the same problem, now under the policy in force. The stored answer saves solving it again.
        self.streams[job.streams[0]].solved(job.problem, answer)
        return self.accept(job.stream, now_s)

    def accept(self, stream: str, now_s: float) -> list[Effect]:
        """Put the requested policy in force, if there is one."""
        state = self.streams[stream]
        request = state.policy.request
        if request is None:
            return []
        is_changed = request.policy != self.fleet.snapshot.policy(stream)
        effects = state.policy.accepted(request, reservations(request.policy, self.fleet.snapshot), now_s)
        self.fleet.apply(PolicySet(stream, request.policy), now_s)
        self.streams.replan_all(now_s)
        # A proposal was chosen under the previous policy.
        return effects + (self.streams.perform(state.abandon(now_s), now_s) if is_changed else [])

    def refuse(self, stream: str, refusal: PolicyRefusal, now_s: float) -> list[Effect]:
        """Refuse a policy; the one in force stays."""
        effects = self.streams.of(stream).policy.refused(refusal, now_s)
        self.streams.replan(stream, now_s)
        return effects

    def _reset(self, stream: str, now_s: float) -> list[Effect]:
        state = self.streams[stream]
        self.fleet.apply(PolicySet(stream, None), now_s)
        self.streams.replan_all(now_s)
        return [*state.policy.reset(), *self.streams.perform(state.abandon(now_s), now_s)]
