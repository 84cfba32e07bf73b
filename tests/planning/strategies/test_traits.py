"""Sizes of problems, and what a time budget pays for."""

import pytest

from planning.problem.problem import Block, Device, Model, Problem, Stream
from planning.strategies.traits import BudgetLimit, CostClass, ProblemSize
from shared.policy import Policy


def _problem(streams: int, jobs: int) -> Problem:
    """Streams over three devices and a model of two blocks."""
    devices = {name: Device({"m": (1.0, 1.0)}) for name in "abc"}
    model = Model(1.0, (Block("x", 1), Block("y", 1)))
    own = tuple(Stream(f"s{index}", "m", "a", jobs=jobs) for index in range(streams))
    return Problem({"m": model}, devices, (), own, Policy())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (ProblemSize.STREAMS, 4),
        (ProblemSize.JOBS, 20),
        (ProblemSize.BLOCKS, 8),
        (ProblemSize.JOB_DEVICE_PAIRS, 60),
    ],
)
def test_sizes(size: ProblemSize, expected: int) -> None:
    assert size.of(_problem(4, 5)) == expected


def test_a_limit_grows_with_the_budget_but_never_below_its_least() -> None:
    limit = BudgetLimit(ProblemSize.STREAMS, 10, least_s=0.2)
    assert limit.allows(_problem(5, 1), 0.5)
    assert not limit.allows(_problem(6, 1), 0.5)
    assert limit.allows(_problem(2, 1), 0.0)
    assert not limit.allows(_problem(3, 1), 0.0)


def test_a_limit_may_have_a_measure_of_its_own() -> None:
    limit = BudgetLimit(lambda problem: len(problem.devices), 2)
    assert limit.allows(_problem(1, 1), 1.5)
    assert not limit.allows(_problem(1, 1), 1.0)


def test_only_strategies_that_are_cheap_per_stream_are_fit_for_crowds() -> None:
    crowd = _problem(401, 1)
    fit = {each for each in CostClass if all(limit.allows(crowd, 1.0) for limit in each.limits)}
    assert fit == {CostClass.PER_STREAM}


def test_long_bursts_exclude_what_looks_at_every_job() -> None:
    burst = _problem(1, 10_001)
    fit = {each for each in CostClass if all(limit.allows(burst, 1.0) for limit in each.limits)}
    assert fit == set(CostClass) - {CostClass.ONE_ROUTE_SEARCH}
