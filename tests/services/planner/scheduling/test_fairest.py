"""The fairest cuts at one server against every choice there is."""

import random
from itertools import product

import numpy as np
import pytest

from services.planner.scheduling.arrivals import Arrivals
from services.planner.scheduling.fairest import Measure, Service, fairest
from services.planner.scheduling.shared_server import Offload, Snapshot
from services.planner.search.arrays import Array
from shared.plan.plan import Route
from shared.plan.policy import QueueDiscipline

CASES = 40
"""Per service: with two measures 240 cases in all."""

MODELS = {
    Service.SHORTEST: lambda tasks: Snapshot(tasks, QueueDiscipline.SHORTEST_JOB_FIRST),
    Service.SHARED: lambda tasks: Snapshot(tasks, QueueDiscipline.ROUND_ROBIN),
    Service.FIRST_COME: lambda tasks: Arrivals(tasks, QueueDiscipline.FIFO),
}
MEASURES = {Measure.VARIANCE: lambda delays: delays.var(axis=1), Measure.LARGEST: lambda delays: delays.max(axis=1)}


def _tasks(rng: random.Random) -> list[Offload]:
    """One to four tasks with two to six cuts and results on the way back; some are twins, some times are equal."""
    found: list[Offload] = []
    for index in range(rng.randint(1, 4)):
        if found and rng.random() < 0.2:
            found.append(found[-1])
            continue
        cuts = rng.randint(2, 6)
        draw = rng.choice([lambda most: rng.uniform(0, most), lambda most: float(rng.randint(0, int(most)))])
        local = np.cumsum([draw(9) for _ in range(cuts)])
        sent = np.array([*(draw(5) for _ in range(cuts - 1)), 0.0])
        server = np.array([*np.cumsum([draw(4) for _ in range(cuts - 1)])[::-1], 0.0])
        back = np.array([draw(2) if size else 0.0 for size in server])
        routes = (Route(()),) * cuts
        found.append(Offload(f"s{index}", f"d{index}", routes, local + sent + back, server, local, sent))
    return found


def _values(tasks: list[Offload], service: Service, measure: Measure) -> dict[tuple[int, ...], float]:
    choices = np.array(list(product(*(range(len(task.routes)) for task in tasks))))
    delays: Array = MODELS[service](_apart(tasks)).delays_ms(choices)
    return dict(zip(map(tuple, choices.tolist()), MEASURES[measure](delays).tolist(), strict=True))


def _apart(tasks: list[Offload]) -> list[Offload]:
    """Give every task a source of its own."""
    return [
        Offload(f"s{at}", f"d{at}", task.routes, task.before_ms, task.server_ms, task.source_ms, task.send_ms)
        for at, task in enumerate(tasks)
    ]


@pytest.mark.parametrize("measure", list(Measure))
@pytest.mark.parametrize("service", list(Service))
def test_equals_every_choice(service: Service, measure: Measure) -> None:
    rng = random.Random(f"{service} {measure}")
    for _ in range(CASES):
        tasks = _tasks(rng)
        values = _values(tasks, service, measure)
        least = min(values.values())
        found = fairest(tasks, service, measure, steps=10_000_000)
        assert found.proved and found.choice is not None
        assert found.value == pytest.approx(least, rel=1e-9, abs=1e-9)
        assert values[tuple(found.choice)] == pytest.approx(least, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("service", list(Service))
def test_what_is_not_allowed_is_never_taken(service: Service) -> None:
    rng = random.Random(f"allowed {service}")
    for _ in range(20):
        tasks = _tasks(rng)
        values = _values(_apart(tasks), service, Measure.VARIANCE)
        allowed = {choice for choice in values if rng.random() < 0.3}
        found = fairest(
            _apart(tasks),
            service,
            Measure.VARIANCE,
            steps=10_000_000,
            allowed=lambda choice, allowed=allowed: tuple(choice) in allowed,
        )
        assert found.proved and (found.choice is None) == (not allowed)
        if found.choice is not None:
            assert tuple(found.choice) in allowed
            least = min(values[choice] for choice in allowed)
            assert found.value == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_only_better_choices_than_the_known_one_are_returned() -> None:
    tasks = _tasks(random.Random(5))
    least = fairest(tasks, Service.SHORTEST, Measure.LARGEST, steps=1_000_000)
    again = fairest(tasks, Service.SHORTEST, Measure.LARGEST, steps=1_000_000, known=least.value)
    assert again.proved and again.choice is None and again.value == least.value


def test_without_steps_nothing_is_proved() -> None:
    found = fairest(_tasks(random.Random(5)), Service.SHORTEST, Measure.VARIANCE, steps=1)
    assert not found.proved and found.choice is None
