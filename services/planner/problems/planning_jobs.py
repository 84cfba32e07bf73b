"""Planning jobs and their answers, with fallbacks for problems that have no solution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from planning.problem.plan import Constraint, Infeasible, Plan
from planning.problem.problem import Problem, Stream
from services.planner.problems.policies import PolicyRequest
from services.planner.problems.problem_from_snapshot import own_problem
from shared.policy import Objective, Policy

Solve = Callable[[Problem], Plan | Infeasible]


@dataclass(frozen=True, slots=True)
class PlanningJob:
    """A problem to solve, immutable, so that a worker thread can solve it.

    Attributes:
        stream: the one whose policy is judged, or the first one of the problem.
        problem: without choices that devices have rejected.
        open_problem: with every choice open, by which the plans in force are judged.
        policies: of the problem's streams, as their users have set them.
        request: the policy that is judged; None to plan under the policies in force.
    """

    stream: str
    problem: Problem
    open_problem: Problem
    policies: Mapping[str, Policy]
    request: PolicyRequest | None = None

    @property
    def policy(self) -> Policy:
        """The policy of the problem."""
        return self.problem.policy

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that are planned together."""
        return tuple(stream.name for stream in self.problem.streams)


@dataclass(frozen=True, slots=True)
class Fallback:
    """Plan for a part of a problem that has no solution, and the problem that was solved instead."""

    problem: Problem
    plan: Plan


@dataclass(frozen=True, slots=True)
class Answer:
    """Result of a planning job.

    Attributes:
        outcome: the strategy's answer to the job's problem.
        fallback: plan without the deadlines that cannot be met, and without the streams that cannot be planned at all;
            None if there is none.
        culprits: streams that cannot be planned even alone, with the reasons.
    """

    outcome: Plan | Infeasible
    fallback: Fallback | None = None
    culprits: Mapping[str, Infeasible] = field(default_factory=dict)

    @property
    def plan(self) -> Plan | None:
        """The plan to put in force; None if there is none."""
        if isinstance(self.outcome, Plan):
            return self.outcome
        return None if self.fallback is None else self.fallback.plan

    def infeasible(self, stream: str) -> Infeasible | None:
        """Return the constraints that cannot be met for one of the job's streams; None if all can be met."""
        if isinstance(self.outcome, Plan):
            return None
        if stream in self.culprits:
            return self.culprits[stream]
        return self.outcome if self.fallback is None else None


def run_job(job: PlanningJob, solve: Solve) -> Answer:
    """Solve the job's problem; if it has no solution, solve the part that has one.

    A stream that fails by its deadline only is planned without it. Of several streams, those that cannot be planned
    even alone are left out. For a policy that is judged, a stream planned alone keeps its deadline.

    Args:
        job: the problem.
        solve: the strategy of the problem's policy.
    """
    outcome = solve(job.problem)
    if isinstance(outcome, Plan):
        return Answer(outcome)
    if len(job.problem.streams) > 1:
        return _what_remains(job, outcome, solve)
    culprits = {job.stream: outcome}
    if job.request is not None or not _only_deadlines(outcome):
        return Answer(outcome, None, culprits)
    # The deadline cannot be met. The fastest plan exceeds it least, whatever the objective is.
    relaxed = replace(job.policy, deadline_ms=None, objective=Objective.LATENCY, strategy="auto")
    return Answer(outcome, _solved(replace(job.problem, policy=relaxed), solve), culprits)


def _what_remains(job: PlanningJob, outcome: Infeasible, solve: Solve) -> Answer:
    """Remove deadlines and streams that cannot be met even alone, until the rest has a plan or none is left."""
    rest, answer = job.problem, outcome
    culprits: dict[str, Infeasible] = {}
    while found := _culprits(rest, answer, solve):
        culprits |= found
        remaining = tuple(_relaxed(stream, found) for stream in rest.streams if _stays(stream, found))
        if not remaining:
            break
        rest = replace(rest, streams=remaining, policy=_without_deadline(rest.policy, found))
        again = solve(rest)
        if isinstance(again, Plan):
            return Answer(outcome, Fallback(rest, again), culprits)
        answer = again
    return Answer(outcome, None, culprits)


def _culprits(problem: Problem, answer: Infeasible, solve: Solve) -> dict[str, Infeasible]:
    """Return the streams that cannot be planned even alone; only those that the answer names, if there are any."""
    subjects = {reason.subject for reason in answer.reasons}
    named = [stream.name for stream in problem.streams if stream.name in subjects]
    others = [stream.name for stream in problem.streams if stream.name not in subjects]
    # Most answers name the streams that fail. Only otherwise every stream is solved alone, which is expensive.
    for names in (named, others):
        alone = {name: solve(own_problem(problem, name)) for name in names}
        found = {name: each for name, each in alone.items() if isinstance(each, Infeasible)}
        if found:
            return found
    return {}


def _stays(stream: Stream, culprits: Mapping[str, Infeasible]) -> bool:
    return stream.name not in culprits or _only_deadlines(culprits[stream.name])


def _relaxed(stream: Stream, culprits: Mapping[str, Infeasible]) -> Stream:
    return replace(stream, deadline_ms=None) if stream.name in culprits else stream


def _without_deadline(policy: Policy, culprits: Mapping[str, Infeasible]) -> Policy:
    """Return the policy after some streams have lost their deadline, which then cannot be the objective."""
    relaxes = any(map(_only_deadlines, culprits.values()))
    if policy.objective is Objective.DEADLINE and relaxes:
        return replace(policy, objective=Objective.LATENCY, strategy="auto")
    return policy


def _solved(problem: Problem, solve: Solve) -> Fallback | None:
    plan = solve(problem)
    return Fallback(problem, plan) if isinstance(plan, Plan) else None


def _only_deadlines(outcome: Infeasible) -> bool:
    return bool(outcome.reasons) and all(each.constraint is Constraint.DEADLINE for each in outcome.reasons)
