from dataclasses import replace

import pytest

from planning.cost.cost_model import CostModel
from planning.files.problem_file import read_problem
from planning.problem.plan import Constraint, Infeasible, Plan
from planning.problem.problem import Problem
from planning.strategies.hu_mishra import HuMishra, pool_cuts
from shared.policy import DeviceRule, Objective, Policy
from tests.support.shared_paths import INSTANCES


def _problem(deadline_ms: float | None, *denied: str) -> Problem:
    problem = read_problem((INSTANCES / "vgg16_three_devices_deadline.json").read_bytes())
    policy = Policy(objective=Objective.DEADLINE, deadline_ms=deadline_ms, devices=DeviceRule(deny=denied))
    return replace(problem, policy=policy)


def _cuts(answer: Plan | Infeasible) -> list[tuple[int, str]]:
    assert isinstance(answer, Plan)
    return [(stage.stop, stage.device) for stage in answer.streams["headset"].routes[0].stages]


def _solve(problem: Problem, *, as_printed: bool = False, all_cuts: bool = False) -> Plan | Infeasible:
    return HuMishra(as_printed=as_printed, all_cuts=all_cuts).solve(problem, seed=0, time_budget_s=1.0)


def test_candidates_are_pooling_layers_and_ends() -> None:
    problem = _problem(None)
    assert pool_cuts(problem, problem.streams[0]) == [0, 3, 6, 10, 14, 18, 21]


@pytest.mark.parametrize("denied", [("nano",), ("server",), ()])
@pytest.mark.parametrize("deadline_ms", [450.0, 700.0, 900.0, 1200.0, 1500.0])
def test_largest_local_part_that_keeps_the_deadline(deadline_ms: float, denied: tuple[str, ...]) -> None:
    """By brute force over P x P: no plan of the algorithm's shapes keeps more layers at the source."""
    problem = _problem(deadline_ms, *denied)
    stream, costs = problem.streams[0], CostModel(problem)
    cuts, helpers = pool_cuts(problem, stream), [name for name in ("nano", "server") if name not in denied]
    best = -1
    for cut in cuts[:-1]:
        head = costs.compute_ms("pi", "vgg16", 0, cut) if cut else 0.0
        for near in helpers:
            sent = head + costs.transfer_ms(
                "pi", near, 602112 if cut == 0 else problem.models["vgg16"].blocks[cut - 1].output_bytes
            )
            if sent + costs.compute_ms(near, "vgg16", cut, 21) <= deadline_ms:
                best = max(best, cut)
            for second in (other for other in cuts if cut < other < 21):
                for far in (name for name in helpers if name != near):
                    total = sent + costs.compute_ms(near, "vgg16", cut, second)
                    total += costs.transfer_ms(near, far, problem.models["vgg16"].blocks[second - 1].output_bytes)
                    if total + costs.compute_ms(far, "vgg16", second, 21) <= deadline_ms:
                        best = max(best, cut)
    answer = _solve(problem)
    if best < 0:
        assert isinstance(answer, Infeasible)
        assert answer.reasons[0].constraint is Constraint.DEADLINE
        assert (answer.reasons[0].excess or 0) > 0
        return
    assert isinstance(answer, Plan)
    stages = answer.streams["headset"].routes[0].stages
    assert (stages[0].stop if stages[0].device == "pi" else 0) == best
    assert answer.predicted.latency_ms <= deadline_ms
    assert answer.predicted.source_share == best / 21


def test_local_when_there_is_time_or_no_deadline() -> None:
    problem = _problem(None)
    roomy = replace(problem, devices={**problem.devices, "pi": replace(problem.devices["pi"], memory_bytes=None)})
    assert _cuts(_solve(roomy)) == [(21, "pi")]


def test_as_printed_the_loop_has_no_break_and_keeps_fewer_layers() -> None:
    problem = _problem(1200.0, "server")
    corrected, printed = _solve(problem), _solve(problem, as_printed=True)
    assert isinstance(corrected, Plan)
    assert isinstance(printed, Plan)
    assert printed.cost > corrected.cost


def test_missed_deadline_says_by_how_much() -> None:
    answer = _solve(_problem(10.0))
    assert isinstance(answer, Infeasible)
    assert answer.reasons[0].limit == 10.0
    assert (answer.reasons[0].value or 0) > 100


def test_more_cuts_keep_more_blocks_at_the_source() -> None:
    problem = read_problem((INSTANCES / "vgg16_three_devices_deadline.json").read_bytes())
    pooled, every = (_cuts(_solve(problem, all_cuts=each))[0][0] for each in (False, True))
    assert pooled <= every
