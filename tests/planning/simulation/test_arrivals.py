import random
from itertools import pairwise

import pytest

from planning.simulation.arrivals import AllAtOnce, Periodic, Poisson, Recorded, arrival_times_ms


def test_kinds() -> None:
    rng = random.Random(1)
    assert arrival_times_ms(AllAtOnce(), 3, rng) == (0, 0, 0)
    assert arrival_times_ms(Periodic(4.0), 3, rng) == (0, 250, 500)
    assert arrival_times_ms(Recorded((1.0, 1.0, 7.0)), 2, rng) == (1, 1)


def test_poisson_has_its_rate_and_its_seed() -> None:
    times = arrival_times_ms(Poisson(20.0), 20_000, random.Random(7))
    assert times == arrival_times_ms(Poisson(20.0), 20_000, random.Random(7))
    assert times[-1] / 20_000 == pytest.approx(50.0, rel=0.03)
    gaps = [b - a for a, b in pairwise(times)]
    assert sum(gap > 50 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.02)


def test_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        arrival_times_ms(Periodic(0.0), 1, random.Random(1))
    with pytest.raises(ValueError, match="ascend"):
        arrival_times_ms(Recorded((2.0, 1.0)), 2, random.Random(1))
