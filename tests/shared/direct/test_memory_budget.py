"""The budget of received frames."""

from shared.direct.memory_budget import MemoryBudget


def test_what_does_not_fit_waits_until_something_is_given_back() -> None:
    budget = MemoryBudget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    budget.give(60)
    assert budget.take(41)
    assert budget.used_bytes == 81


def test_an_empty_budget_grants_any_size() -> None:
    budget = MemoryBudget(100)
    assert budget.take(1000)
    assert not budget.take(1)
    budget.give(1000)
    assert budget.take(1)


def test_small_frames_are_counted_beyond_the_limit() -> None:
    budget = MemoryBudget(100)
    assert budget.take(100)
    budget.take_always(10)
    assert budget.used_bytes == 110
    assert not budget.take(1)
