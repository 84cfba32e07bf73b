"""A piece of planning that runs off the event loop: pure in, pure out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from services.planner.policies import PolicyRequest
from shared.plan.plan import Constraint, Infeasible, Plan
from shared.plan.policy import Objective, Policy
from shared.plan.problem import Problem

Solve = Callable[[Problem], Plan | Infeasible]


@dataclass(frozen=True, slots=True)
class Job:
    """A problem to solve.

    Attributes:
        stream: whose.
        problem: without choices that devices have rejected.
        open_problem: with every choice open: what the plan in force is judged by.
        request: the policy that is judged; None to plan under the policy in force.
    """

    stream: str
    problem: Problem
    open_problem: Problem
    request: PolicyRequest | None = None

    @property
    def policy(self) -> Policy:
        """The policy of the problem, as the user wants it."""
        return self.problem.policy


@dataclass(frozen=True, slots=True)
class Answer:
    """What planning gave.

    Attributes:
        outcome: the strategy's answer to the job's problem.
        relaxed: the policy without the deadline that cannot be met; None if none was relaxed.
        fallback: the answer under that policy; None if there is none either.
    """

    outcome: Plan | Infeasible
    relaxed: Policy | None = None
    fallback: Plan | None = None


def run_job(job: Job, solve: Solve) -> Answer:
    """Solve the job's problem; where only the deadline cannot be met, look for the fastest plan as well."""
    outcome = solve(job.problem)
    if isinstance(outcome, Plan) or job.request is not None:
        return Answer(outcome)
    if not outcome.reasons or any(each.constraint is not Constraint.DEADLINE for each in outcome.reasons):
        return Answer(outcome)
    relaxed = replace(job.policy, deadline_ms=None, objective=Objective.LATENCY, strategy="auto")
    fallback = solve(replace(job.problem, policy=relaxed))
    return Answer(outcome, relaxed, fallback if isinstance(fallback, Plan) else None)
