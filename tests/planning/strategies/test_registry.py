"""Every strategy solves the same instances; a shared validator checks each answer. A new strategy is known at once."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest
import typer
from typer.testing import CliRunner

from planning.cost.constraints import violations
from planning.cost.cost_model import CostModel
from planning.files.plan_file import answer_values, read_plan, write_answer
from planning.files.problem_file import read_problem
from planning.problem.plan import Infeasible, Plan, StreamPlan
from planning.problem.problem import Block, Device, Model, Problem, Stream
from planning.search.planning_context import PlanningContext, context_of
from planning.search.simple_routes import local_route
from planning.search.stream_by_stream import plan_each_stream
from planning.strategies.registry import (
    known_strategies,
    register,
    solve,
    strategies,
    traits_of,
    unregister,
    with_strategy,
)
from planning.strategies.traits import ALL_OBJECTIVES, CostClass, Traits, Trial
from services.cli.commands.plan_commands import plan_command
from shared.policy import Objective, Policy
from tests.support.random_problems import random_problem
from tests.support.shared_paths import INSTANCES as INSTANCES_FOLDER

INSTANCES = sorted(INSTANCES_FOLDER.glob("*.json"))


def validate(problem: Problem, answer: Plan | Infeasible) -> None:
    """Check what every answer promises."""
    assert answer.objective is problem.policy.objective
    if isinstance(answer, Infeasible):
        assert answer.reasons
        assert all(reason.message for reason in answer.reasons)
        return
    costs = CostModel(problem)
    assert violations(costs, answer.streams) == ()
    for stream in problem.streams:
        plan: StreamPlan = answer.streams[stream.name]
        assert sum(route.jobs for route in plan.routes) == stream.jobs
        assert sorted(plan.order) == list(range(stream.jobs))
        for route in plan.routes:
            assert [stage.start for stage in route.stages[1:]] == [stage.stop for stage in route.stages[:-1]]
            assert route.stages[0].start == 0
            assert route.stages[-1].stop == len(problem.models[stream.model].blocks)
            assert all(stage.start < stage.stop for stage in route.stages)
            neighbours = zip(route.stages, route.stages[1:], strict=False)
            assert all(before.device != after.device for before, after in neighbours)
    predicted = costs.predict(answer.streams, answer.disciplines, answer.turns)
    assert answer.predicted == predicted
    assert answer.cost == pytest.approx(
        costs.cost(answer.objective, answer.streams, predicted, answer.disciplines, answer.turns)
    )
    if answer.lower_bound is not None:
        assert answer.cost >= answer.lower_bound - 1e-9 * abs(answer.lower_bound)
    if answer.optimal:
        assert answer.lower_bound == answer.cost
    assert read_plan(write_answer(answer)) == answer


@pytest.mark.parametrize("name", list(known_strategies()))
@pytest.mark.parametrize("path", INSTANCES, ids=lambda path: path.stem)
def test_named_instances(name: str, path: Path) -> None:
    problem = read_problem(path.read_bytes(), strategies=known_strategies())
    answer = solve(with_strategy(problem, name), time_budget_s=0.1)
    validate(problem, answer)
    again = solve(with_strategy(problem, name), time_budget_s=0.1)
    assert answer_values(again) == answer_values(answer)


@cache
def _random_problems(objective: Objective) -> list[tuple[Problem, Plan | Infeasible]]:
    """Return random problems with the answers of `auto`, which no strategy beats."""
    rng = random.Random(f"registry {objective}")
    problems = []
    for index in range(24):
        problem = random_problem(rng, objective, constrained=index % 2 == 0, codecs=index % 3 == 0, most_blocks=4)
        if index % 4 == 1:
            problem = replace(problem, streams=(replace(problem.streams[0], jobs=rng.randint(2, 4)),))
        problems.append((problem, solve(with_strategy(problem, "auto"), time_budget_s=0.1)))
    return problems


@pytest.mark.parametrize("name", list(known_strategies()))
@pytest.mark.parametrize("objective", list(Objective))
def test_random_problems(name: str, objective: Objective) -> None:
    for problem, best in _random_problems(objective):
        answer = solve(with_strategy(problem, name), time_budget_s=0.05)
        validate(problem, answer)
        if isinstance(best, Infeasible):
            assert isinstance(answer, Infeasible)
        elif isinstance(answer, Plan):
            assert answer.cost >= best.cost - 1e-9 * abs(best.cost)


def test_missed_deadline_says_by_how_much(make_problem: Callable[..., Problem]) -> None:
    path = next(path for path in INSTANCES if path.stem == "vgg16_too_late")
    problem = read_problem(path.read_bytes())
    answer = solve(problem)
    fastest = solve(replace(problem, policy=Policy()))
    assert isinstance(answer, Infeasible)
    assert isinstance(fastest, Plan)
    assert answer.reasons[0].excess == pytest.approx(fastest.cost - 100.0)


def test_streams_that_compete_for_memory() -> None:
    path = next(path for path in INSTANCES if path.stem == "two_cameras_one_server")
    problem = read_problem(path.read_bytes())
    answer = solve(with_strategy(problem, "shortest_path"))
    assert isinstance(answer, Plan)
    assert not answer.optimal
    joint = solve(problem)
    assert isinstance(joint, Plan)
    assert joint.optimal
    assert joint.cost <= answer.cost
    server = replace(problem.devices["server"], memory_bytes=900_000_000)
    roomy = solve(replace(problem, devices={**problem.devices, "server": server}))
    assert isinstance(roomy, Plan)
    assert roomy.optimal
    assert answer.lower_bound == pytest.approx(roomy.cost)
    assert answer.cost > roomy.cost


@dataclass(frozen=True, slots=True)
class Toy:
    """A strategy outside of the tree: everything at the source, and it notes the problems that it is given."""

    traits: ClassVar[Traits] = Traits(objectives=ALL_OBJECTIVES, cost_class=CostClass.PER_STREAM)

    name: str = "toy"
    description: str = "everything at the source"
    citation: str = "this test"
    trial: Trial | None = field(default=Trial(turn=0))
    asked: list[Problem] = field(default_factory=list, compare=False)

    def solve(
        self, problem: Problem, *, seed: int, time_budget_s: float, context: PlanningContext | None = None
    ) -> Plan | Infeasible:
        """Return the local plan."""
        self.asked.append(problem)
        context = context_of(problem, context)
        costs = context.costs
        return plan_each_stream(context, self.name, lambda stream: local_route(problem, stream, costs), time_budget_s)


@pytest.fixture
def toy() -> Iterator[Toy]:
    strategy = Toy()
    register(strategy)
    yield strategy
    unregister(strategy.name)


def _single_device() -> Problem:
    """A problem with one plan, so that of equal answers the one of the first turn wins."""
    model = Model(1e5, (Block("only", 1e3),))
    stream = Stream("s", "m", "camera", jobs=2)
    return Problem({"m": model}, {"camera": Device({"m": (5.0,)})}, (), (stream,), Policy(Objective.DELAY_VARIANCE))


def test_one_registration_makes_a_strategy_known_everywhere(toy: Toy) -> None:
    problem = _single_device()
    answer = solve(with_strategy(problem, "toy"))
    assert isinstance(answer, Plan)
    assert answer.strategy == "toy"
    assert strategies()["toy"] is known_strategies()["toy"] is toy
    assert traits_of("toy") is Toy.traits
    best = solve(problem)
    assert isinstance(best, Plan)
    assert (best.strategy, best.cost) == ("toy", answer.cost)
    assert toy.asked[-1] is problem
    command_line = typer.Typer()
    command_line.command("plan")(plan_command)
    listed = CliRunner().invoke(command_line, ["--list-strategies", "--json"])
    (entry,) = [each for each in json.loads(listed.stdout) if each["name"] == "toy"]
    assert entry["description"] == toy.description
    assert entry["citation"] == toy.citation
    assert entry["exact"] is Toy.traits.exact


def test_a_variant_is_known_to_policies_and_auto_but_not_compared() -> None:
    variant = Toy(name="toy:other", trial=Trial(turn=0, objectives=frozenset({Objective.ENERGY})))
    register(variant)
    try:
        assert "toy:other" not in strategies()
        assert known_strategies()["toy:other"] is variant
        solve(_single_device())
        assert not variant.asked
        solve(replace(_single_device(), policy=Policy(Objective.ENERGY)))
        assert variant.asked
    finally:
        unregister("toy:other")


def test_names_are_registered_once(toy: Toy) -> None:
    with pytest.raises(ValueError, match="there is a strategy toy already"):
        register(Toy())
    assert traits_of("no such strategy") is None


@pytest.mark.parametrize("name", list(known_strategies()))
def test_traits_agree_with_answers(name: str, make_problem: Callable[..., Problem]) -> None:
    """Only exact strategies prove optimality, and every strategy answers the objectives that it optimises.

    One that splits stages does too, where its plan reaches the bound of all plans.
    """
    strategy, rng = known_strategies()[name], random.Random(f"traits {name}")
    unanswered = set(strategy.traits.objectives)
    for objective in Objective:
        for _ in range(10):
            problem = make_problem(rng, objective, most_blocks=3)
            answer = strategy.solve(problem, seed=0, time_budget_s=0.05)
            if isinstance(answer, Plan):
                assert strategy.traits.exact or strategy.traits.splits_stages or not answer.optimal
                unanswered.discard(objective)
    assert not unanswered


def test_every_variant_belongs_to_a_strategy_and_says_what_is_different() -> None:
    own = strategies()
    variants = {name: strategy for name, strategy in known_strategies().items() if name not in own}
    assert variants
    for name, variant in variants.items():
        base = own[name.partition(":")[0]]
        assert variant != base
        assert variant.description != base.description
