import random

from planning.search.pareto import Frontier


def test_admits_what_nothing_earlier_beats_everywhere() -> None:
    frontier = Frontier(2)
    assert frontier.admit((1.0, 5.0), 0b01)
    assert not frontier.admit((1.0, 5.0), 0b01)
    assert not frontier.admit((2.0, 6.0), 0b11)
    assert frontier.admit((2.0, 6.0), 0b10)
    assert frontier.admit((0.5, 7.0), 0b01)


def test_equals_the_plain_definition_past_its_first_room() -> None:
    rng = random.Random(1)
    frontier, kept = Frontier(3), list[tuple[tuple[float, ...], int]]()
    for _ in range(300):
        values, used = tuple(float(rng.randint(0, 9)) for _ in range(3)), rng.randint(0, 7)
        beaten = any(
            all(a <= b for a, b in zip(other, values, strict=True)) and not mask & ~used for other, mask in kept
        )
        assert frontier.admit(values, used) is not beaten
        if not beaten:
            kept.append((values, used))
    assert len(kept) > 16
