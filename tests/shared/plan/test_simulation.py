import random
from pathlib import Path

import pytest

from shared.plan.arrivals import Periodic, Poisson, Recorded
from shared.plan.cost import CostModel
from shared.plan.engine import Rules
from shared.plan.pipeline import Work
from shared.plan.plan import StreamPlan, sequential_route
from shared.plan.policy import QueueDiscipline
from shared.plan.problem import Block, Device, Link, Model, Problem, Stream
from shared.plan.problem_file import read_problem
from shared.plan.simulation import simulate

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
    problem = read_problem((Path(__file__).parents[2] / "instances" / "two_cameras_one_server.json").read_bytes())
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
