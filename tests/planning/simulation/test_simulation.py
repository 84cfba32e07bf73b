import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planning.cost.cost_model import CostModel
from planning.files.problem_file import read_problem
from planning.problem.plan import CostPrediction, Plan, Route, Stage, StreamPlan, Tile, sequential_route
from planning.problem.problem import Block, Device, Link, Model, Problem, RowProfile, Stream
from planning.queueing.completion_times import LONG_BURST
from planning.queueing.event_loop import Rules
from planning.queueing.operations import Work
from planning.simulation.arrivals import Periodic, Poisson, Recorded
from planning.simulation.simulation import simulate
from shared.policy import Objective, QueueDiscipline
from tests.support.shared_paths import INSTANCES

PROBLEM = Problem(
    {"m": Model(1000, (Block("x", 2000), Block("y", 1000)))},
    {"a": Device({"m": (10.0, 20.0)}), "b": Device({"m": (5.0, 6.0)})},
    (Link("a", "b", 8.0, 1.0),),
    (Stream("s", "m", "a", deadline_ms=30.0),),
)
SPLIT = {"s": StreamPlan((sequential_route([(0, 1, "a", "raw"), (1, 2, "b", "raw")]),))}


def test_one_request_takes_its_latency() -> None:
    timeline = simulate(PROBLEM, SPLIT)
    (request,) = timeline.requests
    assert request.latency_ms == CostModel(PROBLEM).latency_ms(PROBLEM.streams[0], SPLIT["s"].routes[0]) == 19
    assert (request.waited_ms, request.computed_ms, request.sent_ms, request.late) == (0, 16, 3, False)
    assert timeline.busy_ms() == {("a", Work.COMPUTE): 10, ("a", Work.SEND): 3, ("b", Work.COMPUTE): 6}
    assert timeline.link_ms() == {("a", "b"): 3}


def test_burst_takes_its_makespan_and_saturates_the_bottleneck() -> None:
    timeline = simulate(PROBLEM, SPLIT, requests=50)
    assert timeline.makespan_ms == 19 + 49 * 10
    assert timeline.throughput_hz == pytest.approx(100.0)
    predicted = CostModel(PROBLEM).predict(SPLIT)
    assert predicted.throughput_hz == pytest.approx(timeline.throughput_hz)


def test_below_the_bottleneck_nobody_waits_and_above_it_everybody_does() -> None:
    calm = simulate(PROBLEM, SPLIT, arrivals=Periodic(99.0), requests=100)
    assert calm.latency_percentile_ms(100) == pytest.approx(19)
    full = simulate(PROBLEM, SPLIT, arrivals=Periodic(125.0), requests=100)
    assert full.requests[-1].latency_ms == pytest.approx(19 + 99 * 2)
    assert sum(request.late for request in full.requests) == 94


def test_waiting_of_a_poisson_stream_is_that_of_an_m_d_1_queue() -> None:
    local = {"s": StreamPlan((sequential_route([(0, 2, "a", "raw")]),))}
    timeline = simulate(PROBLEM, local, arrivals=Poisson(20.0), requests=40_000, seed=3)
    load = 0.6
    waiting = sum(request.waited_ms for request in timeline.requests) / len(timeline.requests)
    assert waiting == pytest.approx(load * 30 / (2 * (1 - load)), rel=0.1)


def test_same_seed_same_timeline() -> None:
    runs = [simulate(PROBLEM, SPLIT, arrivals=Poisson(50.0), requests=20, seed=seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_routes_are_taken_in_order_again_and_again() -> None:
    routes = (sequential_route([(0, 2, "a", "raw")]), SPLIT["s"].routes[0])
    problem = Problem(PROBLEM.models, PROBLEM.devices, PROBLEM.links, (Stream("s", "m", "a", jobs=2),))
    timeline = simulate(problem, {"s": StreamPlan(routes, (1, 0))}, arrivals=Periodic(1.0), requests=4)
    assert [request.latency_ms for request in timeline.requests] == [19, 30, 19, 30]


def test_percentiles_and_totals() -> None:
    timeline = simulate(PROBLEM, SPLIT, requests=4)
    assert [timeline.latency_percentile_ms(percent) for percent in (0, 25, 50, 51, 95, 100)] == [19, 19, 29, 39, 49, 49]
    assert timeline.total_delay_ms == 19 + 29 + 39 + 49
    assert timeline.delay_variance_ms2 == pytest.approx(125.0)
    empty = simulate(PROBLEM, SPLIT, arrivals=Recorded(()))
    assert (empty.makespan_ms, empty.throughput_hz, empty.delay_variance_ms2) == (0, None, 0)
    with pytest.raises(ValueError, match="no requests"):
        empty.latency_percentile_ms(50)


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
def test_cost_model_and_simulation_agree_under_every_discipline(discipline: QueueDiscipline) -> None:
    problem = read_problem((INSTANCES / "two_cameras_one_server.json").read_bytes())
    rng = random.Random(discipline)
    for _ in range(10):
        cuts = {stream.name: rng.randint(1, len(problem.models[stream.model].blocks) - 1) for stream in problem.streams}
        plans = {
            stream.name: StreamPlan(
                (
                    sequential_route(
                        [
                            (0, cuts[stream.name], stream.source, "raw"),
                            (cuts[stream.name], len(problem.models[stream.model].blocks), "server", "raw"),
                        ],
                        stream.jobs,
                    ),
                ),
                tuple(range(stream.jobs)),
            )
            for stream in problem.streams
        }
        disciplines = {"server": discipline}
        timeline = simulate(problem, plans, rules=Rules(disciplines))
        assert timeline.makespan_ms == pytest.approx(CostModel(problem).makespan_ms(plans, disciplines))
        assert timeline.total_delay_ms == pytest.approx(sum(CostModel(problem).delays_ms(plans, disciplines)))


def _tiled_problem() -> tuple[Problem, dict[str, StreamPlan], float]:
    """Two convolutions on two devices, a stage each, gathered by a third: and the time that a request takes alone."""
    block = Block("conv", 1000, rows=RowProfile(10, 3, 1, 1))
    devices = {name: Device({"m": (10.0, 20.0, time_ms)}) for name, time_ms in (("a", 1.0), ("b", 1.0), ("c", 4.0))}
    links = tuple(Link(*ends, 8.0) for ends in (("a", "b"), ("a", "c"), ("b", "c")))
    problem = Problem(
        {"m": Model(1000, (block, block, Block("fc", 10)), None, 10)}, devices, links, (Stream("s", "m", "a"),)
    )
    halves = (Tile("a", (0, 5)), Tile("b", (5, 10)))
    route = Route((Stage(0, 1, halves), Stage(1, 2, halves), Stage(2, 3, (Tile("c"),))))
    # Six rows of the input go to b; then each computes half, exchanges a row, computes half, sends its half to c.
    return problem, {"s": StreamPlan((route,))}, 0.6 + 5 + 0.1 + 10 + 0.5 + 4


def test_a_request_with_tiles_takes_its_latency() -> None:
    problem, plans, latency_ms = _tiled_problem()
    (request,) = simulate(problem, plans).requests
    assert request.latency_ms == pytest.approx(latency_ms)
    assert request.latency_ms == pytest.approx(CostModel(problem).latency_ms(problem.streams[0], plans["s"].routes[0]))
    assert request.computed_ms == pytest.approx(2 * 5 + 2 * 10 + 4)
    assert request.sent_ms == pytest.approx(0.6 + 2 * 0.1 + 2 * 0.5)


def test_tiles_keep_up_with_what_their_busiest_device_can_do() -> None:
    problem, plans, latency_ms = _tiled_problem()
    rate_hz = CostModel(problem).predict(plans).throughput_hz
    assert rate_hz is not None
    assert rate_hz == pytest.approx(1000 / 15)
    calm = simulate(problem, plans, arrivals=Periodic(0.9 * rate_hz), requests=300)
    assert calm.latency_percentile_ms(100) < 2 * latency_ms
    assert calm.throughput_hz == pytest.approx(0.9 * rate_hz, rel=0.01)
    full = simulate(problem, plans, arrivals=Periodic(1.2 * rate_hz), requests=600)
    assert full.throughput_hz == pytest.approx(rate_hz, rel=0.03)


@pytest.mark.parametrize("discipline", list(QueueDiscipline))
def test_of_tiles_too_cost_model_and_simulation_agree(discipline: QueueDiscipline) -> None:
    problem, plans, _ = _tiled_problem()
    plans = {"s": StreamPlan((Route(plans["s"].routes[0].stages, 7),), tuple(range(7)))}
    problem = replace(problem, streams=(replace(problem.streams[0], jobs=7),))
    disciplines = dict.fromkeys("ab", discipline)
    timeline = simulate(problem, plans, rules=Rules(disciplines))
    assert timeline.makespan_ms == pytest.approx(CostModel(problem).makespan_ms(plans, disciplines))
    assert timeline.total_delay_ms == pytest.approx(sum(CostModel(problem).delays_ms(plans, disciplines)))


def _random_bursts(rng: random.Random, jobs: int, least: int = 0) -> tuple[Problem, dict[str, StreamPlan], list[str]]:
    """Two streams on three devices, each with some random routes, in a random order."""
    names = ("a", "b", "c")
    # Whole numbers make many events fall on one instant; blocks without duration let several follow within one.
    times_ms = {name: tuple(float(rng.randint(least, 3)) for _ in range(4)) for name in names}
    problem = Problem(
        {"m": Model(1000, tuple(Block(f"b{index}", float(rng.randint(least, 3000))) for index in range(4)))},
        {name: Device({"m": times_ms[name]}) for name in names},
        tuple(Link(*ends, 8.0, rng.choice([0.0, 1.0])) for ends in (("a", "b"), ("b", "c"), ("c", "a"))),
        (Stream("s", "m", "a", jobs=jobs), Stream("t", "m", "b", rng.choice([None, "c"]), jobs=jobs)),
    )
    plans = {stream.name: StreamPlan(_random_routes(rng, jobs), _shuffled(rng, jobs)) for stream in problem.streams}
    return problem, plans, [rng.choice("st") for _ in range(rng.randint(0, 2 * jobs))]


def _random_routes(rng: random.Random, jobs: int) -> tuple[Route, ...]:
    first = rng.randint(1, jobs)
    counts = (first, jobs - first) if first < jobs else (jobs,)
    routes = []
    for count in counts:
        cuts = [0, *sorted(rng.sample(range(1, 4), rng.randint(0, 2))), 4]
        routes.append(
            sequential_route([(start, stop, rng.choice("abc"), "raw") for start, stop in pairwise(cuts)], count)
        )
    return tuple(routes)


def _shuffled(rng: random.Random, jobs: int) -> tuple[int, ...]:
    return tuple(rng.sample(range(jobs), jobs))


def _assert_predicted(
    problem: Problem, plans: dict[str, StreamPlan], turns: list[str], disciplines: dict[str, QueueDiscipline]
) -> None:
    predicted = CostPrediction(0.0, None, 0.0, 0.0)
    plan = Plan("any", Objective.MAKESPAN, plans, predicted, 0.0, disciplines=disciplines, turns=tuple(turns))
    found = [request.end_ms for request in simulate(problem, plan).requests]
    assert found == list(CostModel(problem).delays_ms(plans, disciplines, turns))
    assert max(found) == CostModel(problem).makespan_ms(plans, disciplines, turns)


@given(st.randoms(use_true_random=False), st.sampled_from(QueueDiscipline))
def test_the_cost_model_predicts_what_the_simulation_gives(rng: random.Random, discipline: QueueDiscipline) -> None:
    problem, plans, turns = _random_bursts(rng, rng.randint(1, 8))
    _assert_predicted(problem, plans, turns, {name: discipline for name in "abc" if rng.random() < 0.7})


@settings(max_examples=25)
@given(st.randoms(use_true_random=False))
def test_long_bursts_in_arrays_are_what_the_simulation_gives(rng: random.Random) -> None:
    problem, plans, turns = _random_bursts(rng, LONG_BURST // 2, least=1)
    _assert_predicted(problem, plans, turns, {})
