"""Branch and bound finds the fairest of all choices of cuts at one server."""

import random
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest

from planning.problem.plan import Route
from planning.scheduling.arrival_delays import ArrivalDelays
from planning.scheduling.fair_branch_and_bound import FairnessMeasure, ServiceOrder, fairest
from planning.scheduling.shared_server import Offload, QueueSnapshot
from planning.search.arrays import Array
from shared.policy import QueueDiscipline

# Per service and measure.
CASES = 40

MODELS: dict[ServiceOrder, Callable[[Sequence[Offload]], QueueSnapshot | ArrivalDelays]] = {
    ServiceOrder.SHORTEST: lambda tasks: QueueSnapshot(tasks, QueueDiscipline.SHORTEST_JOB_FIRST),
    ServiceOrder.SHARED: lambda tasks: QueueSnapshot(tasks, QueueDiscipline.ROUND_ROBIN),
    ServiceOrder.FIRST_COME: lambda tasks: ArrivalDelays(tasks, QueueDiscipline.FIFO),
}
MEASURES: dict[FairnessMeasure, Callable[[Array], Array]] = {
    FairnessMeasure.VARIANCE: lambda delays: np.asarray(delays.var(axis=1)),
    FairnessMeasure.LARGEST: lambda delays: np.asarray(delays.max(axis=1)),
}


def _tasks(rng: random.Random) -> list[Offload]:
    """One to four tasks with two to six cuts and results on the way back; some are twins, some times are equal."""
    found: list[Offload] = []
    for index in range(rng.randint(1, 4)):
        if found and rng.random() < 0.2:
            found.append(found[-1])
            continue
        cuts, is_whole = rng.randint(2, 6), rng.random() < 0.5

        def draw(most: int, is_whole: bool = is_whole) -> float:
            return float(rng.randint(0, most)) if is_whole else rng.uniform(0, most)

        local = np.cumsum([draw(9) for _ in range(cuts)])
        sent = np.array([*(draw(5) for _ in range(cuts - 1)), 0.0])
        server = np.array([*np.cumsum([draw(4) for _ in range(cuts - 1)])[::-1], 0.0])
        back = np.array([draw(2) if size else 0.0 for size in server])
        routes = (Route(()),) * cuts
        found.append(Offload(f"s{index}", f"d{index}", routes, local + sent + back, server, local, sent))
    return found


def _values(tasks: list[Offload], service: ServiceOrder, measure: FairnessMeasure) -> dict[tuple[int, ...], float]:
    choices = np.array(list(product(*(range(len(task.routes)) for task in tasks))))
    delays = MODELS[service](_apart(tasks)).delays_ms(choices)
    return dict(zip(map(tuple, choices.tolist()), MEASURES[measure](delays).tolist(), strict=True))


def _apart(tasks: list[Offload]) -> list[Offload]:
    """Give every task a source of its own."""
    return [
        Offload(f"s{at}", f"d{at}", task.routes, task.before_ms, task.server_ms, task.source_ms, task.send_ms)
        for at, task in enumerate(tasks)
    ]


@pytest.mark.parametrize("measure", list(FairnessMeasure))
@pytest.mark.parametrize("service", list(ServiceOrder))
def test_equals_every_choice(service: ServiceOrder, measure: FairnessMeasure) -> None:
    rng = random.Random(f"{service} {measure}")
    for _ in range(CASES):
        tasks = _tasks(rng)
        values = _values(tasks, service, measure)
        least = min(values.values())
        found = fairest(tasks, service, measure, steps=10_000_000)
        assert found.proved
        assert found.choice is not None
        assert found.value == pytest.approx(least, rel=1e-9, abs=1e-9)
        assert values[tuple(found.choice)] == pytest.approx(least, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("service", list(ServiceOrder))
def test_what_is_not_allowed_is_never_taken(service: ServiceOrder) -> None:
    rng = random.Random(f"allowed {service}")
    for _ in range(20):
        tasks = _tasks(rng)
        values = _values(_apart(tasks), service, FairnessMeasure.VARIANCE)
        allowed = {choice for choice in values if rng.random() < 0.3}

        def may(choice: Sequence[int], allowed: set[tuple[int, ...]] = allowed) -> bool:
            return tuple(choice) in allowed

        found = fairest(_apart(tasks), service, FairnessMeasure.VARIANCE, steps=10_000_000, allowed=may)
        assert found.proved
        assert (found.choice is None) == (not allowed)
        if found.choice is not None:
            assert tuple(found.choice) in allowed
            least = min(values[choice] for choice in allowed)
            assert found.value == pytest.approx(least, rel=1e-9, abs=1e-9)


def test_only_better_choices_than_the_known_one_are_returned() -> None:
    tasks = _tasks(random.Random(5))
    least = fairest(tasks, ServiceOrder.SHORTEST, FairnessMeasure.LARGEST, steps=1_000_000)
    again = fairest(tasks, ServiceOrder.SHORTEST, FairnessMeasure.LARGEST, steps=1_000_000, known=least.value)
    assert again.proved
    assert again.choice is None
    assert again.value == least.value


def test_without_steps_nothing_is_proved() -> None:
    found = fairest(_tasks(random.Random(5)), ServiceOrder.SHORTEST, FairnessMeasure.VARIANCE, steps=1)
    assert not found.proved
    assert found.choice is None
