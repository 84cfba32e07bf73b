import random

import numpy as np
import pytest

from planning.queueing.completion_times import chain_ends_ms
from planning.queueing.feed_forward import feed_forward_ms, feeds_forward
from planning.queueing.operations import Operation, Work


def _operation(device: str, duration_ms: float, work: Work = Work.COMPUTE) -> Operation:
    return Operation(work, device, duration_ms, 0)


@pytest.mark.parametrize("unit_ms", [1.0, 0.1, None])
def test_arrays_say_what_the_events_say(unit_ms: float | None) -> None:
    """Multiples of a unit make many jobs arrive at the same instant; sums of tenths are rounded."""
    rng = random.Random(f"feed forward {unit_ms}")
    compared = 0
    for _ in range(600):
        kinds = [
            tuple(
                _operation(
                    f"d{rng.randrange(3)}",
                    rng.uniform(0.1, 5) if unit_ms is None else unit_ms * rng.randint(1, 4),
                    rng.choice(list(Work)),
                )
                for _ in range(rng.randint(0, 5))
            )
            for _ in range(rng.randint(1, 4))
        ]
        which = np.array([rng.randrange(len(kinds)) for _ in range(rng.randint(1, 40))])
        found = feed_forward_ms(kinds, which)
        used = [kinds[kind] for kind in sorted(set(which.tolist()))]
        assert (found is not None) == feeds_forward(used)
        if found is not None:
            assert found.tolist() == chain_ends_ms(kinds, which.tolist())
            compared += 1
    assert compared > 200


def test_work_that_goes_round_in_circles_is_left_to_the_events() -> None:
    there = _operation("a", 1.0), _operation("b", 1.0), _operation("c", 1.0)
    back = _operation("c", 1.0), _operation("b", 1.0), _operation("a", 1.0)
    assert feeds_forward([there])
    assert not feeds_forward([(*there, _operation("b", 1.0))])
    assert not feeds_forward([(_operation("s", 1.0), *there), (_operation("s", 1.0), *back)])


def test_a_first_visit_is_over_before_a_second_begins() -> None:
    job = _operation("a", 1.0), _operation("b", 1.0), _operation("a", 1.0)
    found = feed_forward_ms([job], np.zeros(3, dtype=np.int64))
    assert found is not None
    assert found.tolist() == [4.0, 5.0, 6.0] == chain_ends_ms([job], [0, 0, 0])


def test_work_without_duration_is_left_to_the_events() -> None:
    assert feed_forward_ms([(_operation("a", 0.0),)], np.array([0])) is None
