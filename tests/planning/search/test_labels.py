import random

from planning.search.chain_path import Path
from planning.search.labels import Frontier, Holdings, Label, traced_path
from planning.search.limits import Limits


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


def test_holdings_keep_parameters_and_the_largest_activation_of_every_node() -> None:
    limits = Limits(None, 2, (30.0, 100.0, 100.0), (10.0, 5.0, 20.0), (8.0, 20.0, 1.0), 1, 1, 1, 1)
    held = Holdings().with_block(limits, 1, 0)
    assert held is not None
    held = held.with_block(limits, 1, 1)
    assert held == Holdings(0b010, (0.0, 15.0, 0.0), (0.0, 20.0, 0.0))
    assert held is not None
    assert held.with_block(limits, 0, 2) is not None, "20 bytes of parameters and 1 of activation fit in 30"
    both = held.with_block(limits, 2, 2)
    assert both is not None
    assert both.with_block(limits, 0, 2) is None, "a third device"
    assert Holdings().with_block(limits, 0, 1) == Holdings(0b001, (5.0, 0.0, 0.0), (20.0, 0.0, 0.0))
    assert Holdings(0b001, (5.0, 0.0, 0.0), (20.0, 0.0, 0.0)).with_block(limits, 0, 0) is None, "15 and 20 bytes"


def test_a_path_is_read_back_from_the_label_of_the_result() -> None:
    first = Label(1, 0, 1.0, 1.0, Holdings(), None, 0)
    second = Label(2, 3, 2.0, 2.0, Holdings(), first, 1)
    whole = Label(3, 3, 5.0, 2.5, Holdings(), second, 2)
    assert traced_path(whole) == Path(5.0, [0, 3], [1, 2])
