import random
from itertools import combinations_with_replacement

import pytest

from planning.scheduling.flow_shop import JobTimes
from planning.scheduling.identical_jobs import (
    best_cuts,
    best_uniform,
    crossing,
    jps_cuts,
    lower_bound_ms,
    ordered_makespan_ms,
    virtual_blocks,
)


def _curve(rng: random.Random, cuts: int) -> list[JobTimes]:
    f = [0.0, *sorted(rng.uniform(0, 9) for _ in range(cuts - 1))]
    g = [*sorted((rng.uniform(0, 9) for _ in range(cuts - 1)), reverse=True), 0.0]
    return list(zip(f, g, strict=True))


def test_virtual_blocks_merge_layers_between_which_cutting_never_pays() -> None:
    assert virtual_blocks([(0, 6.0), (1, 7.0), (2, 2.0), (3, 2.0), (4, 5.0), (5, 0.0)]) == [0, 2, 5]


def test_crossing() -> None:
    curve = [(float(f), float(g)) for f, g in zip(range(6), [9, 7, 5, 3, 1, 0], strict=True)]
    assert crossing(curve) == 3
    assert crossing([(0.0, 5.0), (1.0, 4.0)]) == 1
    assert crossing([(0.0, 0.0)]) == 0


def test_ratio_as_printed_floors_to_nothing() -> None:
    """Where the jobs at the earlier cut are the fewer, the printed ratio is 0: all jobs at the crossing."""
    curve = [(6.7, 27.2), (9.8, 9.5), (16.5, 6.4)]
    assert crossing(curve) == 1
    assert jps_cuts(curve, 3, floor_ratio=True) == [1, 1, 1]
    assert jps_cuts([(0.0, 4.0), (5.0, 2.0)], 8) == [0, 0, 0, 1, 1, 1, 1, 1]
    assert jps_cuts([(0.0, 4.0), (5.0, 2.0)], 8, floor_ratio=True) == [1] * 8


def test_when_mixing_pays() -> None:
    """All jobs at the crossing beat one at the cut before up to (f' + g' - 2 g) / (f - g) jobs: 50 in the example."""
    curve = [(6.7, 27.2), (9.8, 9.5), (16.5, 6.4)]
    threshold = (6.7 + 27.2 - 2 * 9.5) / (9.8 - 9.5)
    for jobs in (48, 49, 50, 51):
        uniform = ordered_makespan_ms(curve, [1] * jobs)
        mixed = ordered_makespan_ms(curve, [0] + [1] * (jobs - 1))
        assert (mixed < uniform - 1e-9) == (jobs > threshold + 1e-9)


def test_theorem_2_is_false() -> None:
    """Both conditions hold with M = 1, yet a mix beats the uniform cut."""
    curve = list(zip((2.05, 3.93, 5.82, 7.70, 9.59), (9.56, 3.93, 0.79, 0.37, 0.28), strict=True))
    assert ordered_makespan_ms(curve, best_uniform(curve, 2)) == pytest.approx(11.79, abs=0.02)
    assert ordered_makespan_ms(curve, [1, 2]) == pytest.approx(10.54, abs=0.02)
    assert ordered_makespan_ms(curve, best_cuts(curve, 2)) <= ordered_makespan_ms(curve, [1, 2])


def test_theorem_3_is_false() -> None:
    """With f = 1..4 and g = 4..1 the crossing is cut 3, but neighbouring cuts are not the best."""
    curve = list(zip((1.0, 2.0, 3.0, 4.0), (4.0, 3.0, 2.0, 1.0), strict=True))
    assert crossing(curve) == 2
    assert ordered_makespan_ms(curve, [1, 2]) == 7
    assert ordered_makespan_ms(curve, [0, 3]) == 6
    assert ordered_makespan_ms(curve, best_cuts(curve, 2)) == 6
    assert ordered_makespan_ms(curve, [1, 1, 2, 2]) == 12
    assert ordered_makespan_ms(curve, best_cuts(curve, 4)) == 11


def test_best_cuts_equal_brute_force_and_bound_holds() -> None:
    rng = random.Random(4)
    for _ in range(60):
        curve, jobs = _curve(rng, rng.randint(2, 6)), rng.randint(1, 6)
        options = combinations_with_replacement(range(len(curve)), jobs)
        best = min(ordered_makespan_ms(curve, list(option)) for option in options)
        assert ordered_makespan_ms(curve, best_cuts(curve, jobs)) == pytest.approx(best)
        assert lower_bound_ms(curve, jobs) <= best + 1e-9


def test_large_bursts_come_close_to_the_bound() -> None:
    rng = random.Random(5)
    for _ in range(5):
        curve = _curve(rng, 10)
        total = ordered_makespan_ms(curve, best_cuts(curve, 100))
        assert total <= 1.02 * lower_bound_ms(curve, 100)
        assert total <= ordered_makespan_ms(curve, jps_cuts(curve, 100)) + 1e-9
