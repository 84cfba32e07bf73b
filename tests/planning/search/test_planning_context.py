"""Look-ups are shared within one problem only."""

import random
from collections.abc import Callable

from planning.problem.problem import Problem
from planning.search.planning_context import context_of
from shared.policy import Objective


def test_a_context_is_only_shared_within_its_problem(make_problem: Callable[..., Problem]) -> None:
    problem, other = (make_problem(random.Random(seed), Objective.LATENCY) for seed in (1, 2))
    context = context_of(problem)
    assert context_of(problem, context) is context
    fresh = context_of(other, context)
    assert (fresh.problem, fresh.network.problem, fresh.costs.problem) == (other, other, other)
