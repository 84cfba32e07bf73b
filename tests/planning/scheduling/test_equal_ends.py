"""Jobs put into the gaps of all others end where the gaps say, and at about one time."""

import random
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from planning.scheduling.equal_ends import EqualEnds, Gaps
from planning.scheduling.route_arrays import drawn_routes
from planning.scheduling.route_forms import RouteForms
from planning.scheduling.sequence_costs import Job, SequenceCosts
from planning.search.cost_tables import build_tables
from shared.policy import Objective, Policy, QueueDiscipline
from tests.support.joint_problems import random_joint_problem


def _problem(rng: random.Random, queue: QueueDiscipline) -> tuple[Problem, list[RouteForms]]:
    problem = random_joint_problem(rng, Objective.DELAY_VARIANCE)
    problem = replace(problem, policy=replace(problem.policy, queue=queue))
    return problem, [RouteForms(problem, build_tables(problem, stream)) for stream in problem.streams]


def _jobs(problem: Problem, forms: list[RouteForms], rng: random.Random) -> list[Job] | None:
    jobs: list[Job] = []
    for index, stream in enumerate(problem.streams):
        routes = drawn_routes(forms[index], 30, np.random.default_rng(0))
        own = [form for place in range(len(routes.latency_ms)) if (form := routes.form(forms[index], place))]
        if not own:
            return None
        jobs += [(index, rng.choice(own)) for _ in range(stream.jobs)]
    rng.shuffle(jobs)
    return jobs


def test_a_job_that_delays_nobody_ends_where_the_gaps_say() -> None:
    """And all others end when they ended without it, whatever its place in the starting order."""
    undelayed = 0
    for seed in range(150):
        rng = random.Random(seed)
        problem, forms = _problem(rng, QueueDiscipline.FIFO)
        jobs = _jobs(problem, forms, rng)
        if jobs is None:
            continue
        costs = SequenceCosts(problem)
        turn = rng.randrange(len(jobs))
        stream, _ = jobs.pop(turn)
        routes = drawn_routes(forms[stream], 20, np.random.default_rng(seed))
        step_ends_ms: list[list[float]] = [[] for _ in jobs]
        before_ms = costs.ends_ms(jobs, step_ends_ms)
        latest_ms = 1.0 + max([0.0, *before_ms]) + float(routes.latency_ms[-1])
        gaps = Gaps(jobs, step_ends_ms, forms[stream].servers, latest_ms, turn)
        ends_ms, delays_ms = gaps.ends_ms(routes.servers, routes.work_ms)
        for place in np.flatnonzero(delays_ms == 0.0).tolist():
            form = routes.form(forms[stream], place)
            if form is None or not form.is_timed:
                continue
            after_ms = costs.ends_ms([*jobs[:turn], (stream, form), *jobs[turn:]])
            assert after_ms.pop(turn) == pytest.approx(ends_ms[place])
            assert after_ms == pytest.approx(before_ms)
            undelayed += 1
    assert undelayed > 200


@pytest.mark.parametrize("queue", list(QueueDiscipline))
def test_moves_keep_every_stream_and_tell_true_costs(queue: QueueDiscipline) -> None:
    tried = 0
    for seed in range(12):
        rng = random.Random(seed)
        problem, forms = _problem(rng, queue)
        jobs = _jobs(problem, forms, rng)
        if jobs is None:
            continue
        costs = SequenceCosts(problem)
        equal_ends = EqualEnds(costs, forms, seed)
        equal_ends.draw_routes(20_000)
        evaluation = costs.evaluate(jobs)
        streams = sorted(stream for stream, _ in jobs)
        begun = equal_ends.beginning(streams, evaluation.mean_ms, None)
        for _ in range(10):
            before = equal_ends.spent
            changed = equal_ends.changed(jobs, evaluation)
            assert equal_ends.spent > before
            for answer in (begun, changed):
                if answer is not None:
                    assert sorted(stream for stream, _ in answer[0]) == streams
                    assert answer[1] == costs.evaluate(answer[0])
                    tried += 1
    assert tried > 50


def test_jobs_begin_so_that_they_end_at_one_time() -> None:
    """Where jobs have devices enough, they are put within a twentieth of their mean end of each other."""
    spreads = []
    for seed in range(40):
        rng = random.Random(seed)
        problem, forms = _problem(rng, QueueDiscipline.FIFO)
        jobs = _jobs(problem, forms, rng)
        if jobs is None or not 2 <= len(jobs) <= 4:
            continue
        equal_ends = EqualEnds(SequenceCosts(problem), forms, seed)
        equal_ends.draw_routes(40_000)
        streams = [stream for stream, _ in jobs]
        begun = [equal_ends.beginning(streams, 0.0, None) for _ in range(20)]
        evaluations = [answer[1] for answer in begun if answer is not None]
        spreads.append(min(sqrt(each.cost) / each.mean_ms for each in evaluations))
    assert len(spreads) > 5
    assert sorted(spreads)[len(spreads) // 2] < 0.05


def test_a_stream_without_routes_has_no_moves() -> None:
    rng = random.Random(1)
    problem, forms = _problem(rng, QueueDiscipline.FIFO)
    jobs = _jobs(problem, forms, rng)
    assert jobs is not None
    costs = SequenceCosts(problem)
    equal_ends = EqualEnds(costs, forms, 0)
    equal_ends.draw_routes(0)
    assert equal_ends.beginning([stream for stream, _ in jobs], 1.0, None) is None
    assert equal_ends.changed(jobs, costs.evaluate(jobs)) is None
    assert equal_ends.spent > 0


def _pairs(rng: random.Random) -> tuple[Problem, list[RouteForms]]:
    """Three streams, each with two devices of its own, so that no job waits for another."""
    blocks = tuple(Block(f"b{index}", rng.uniform(1e4, 4e5)) for index in range(6))
    models = {f"m{index}": Model(3e5, blocks) for index in range(3)}
    devices = {
        f"{role}{index}": Device({f"m{index}": tuple(rng.uniform(5.0, 40.0) for _ in blocks)})
        for index in range(3)
        for role in ("camera", "helper")
    }
    links = tuple(Link(f"camera{index}", f"helper{index}", rng.uniform(20.0, 200.0), 1.0) for index in range(3))
    streams = tuple(Stream(f"s{index}", f"m{index}", f"camera{index}") for index in range(3))
    problem = Problem(models, devices, links, streams, Policy(objective=Objective.DELAY_VARIANCE))
    return problem, [RouteForms(problem, build_tables(problem, stream)) for stream in streams]


def test_jobs_that_change_at_once_reach_the_least_variance() -> None:
    """The least of all combinations is found at once from jobs that end up to a twentieth later."""
    for seed in range(6):
        problem, forms = _pairs(random.Random(seed))
        routes = [drawn_routes(own, 4_000, np.random.default_rng(0)) for own in forms]
        latency_ms = [np.unique(own.latency_ms) for own in routes]
        whole = np.stack(np.meshgrid(*latency_ms, indexing="ij"), axis=-1)
        variance = whole.var(axis=-1)
        best_ms = whole[np.unravel_index(variance.argmin(), variance.shape)].mean()
        jobs: list[Job] = []
        for stream, (own, arrays) in enumerate(zip(forms, routes, strict=True)):
            form = arrays.form(own, int(np.abs(arrays.latency_ms - 1.05 * best_ms).argmin()))
            assert form is not None
            jobs.append((stream, form))
        costs = SequenceCosts(problem)
        moves = EqualEnds(costs, forms, 0)
        moves.draw_routes(132_000)
        answer = moves.agreed(jobs, costs.evaluate(jobs))
        assert answer is not None
        assert answer[1].cost == pytest.approx(variance.min())
        assert costs.evaluate(answer[0]).cost == answer[1].cost
