"""Levels of a larger budget contain those of a smaller one."""

import random

from planning.search.nested_budgets import IMPROVED_ALONE, LEAST_S, BudgetLevel, least_candidates, nested_budgets


def test_a_larger_budget_begins_like_a_smaller_one() -> None:
    rng = random.Random(0)
    for _ in range(500):
        small_s, large_s = sorted(rng.uniform(LEAST_S, 40) for _ in range(2))
        small, large = nested_budgets(small_s), nested_budgets(large_s)
        assert small[:-1] == large[: len(small) - 1]
        last = large[len(small) - 1]
        assert small[-1].candidates_s == last.candidates_s
        assert small[-1].improved_s <= last.improved_s


def test_budgets_are_kept() -> None:
    assert [level.candidates_s for level in nested_budgets(1.0)] == [0.1, 1.0]
    assert nested_budgets(1.0)[-1].improved_s == 1.0
    assert [level.candidates_s for level in nested_budgets(0.5)] == [0.1]
    assert [level.candidates_s for level in nested_budgets(0.02)] == [0.02]


def test_candidates_at_the_smallest_budget_only_are_the_same_at_any_larger_one() -> None:
    assert [least_candidates(budget_s) for budget_s in (0.02, 0.1, 1.0)] == [
        (BudgetLevel(0.02, IMPROVED_ALONE * 0.02),),
        (BudgetLevel(LEAST_S, IMPROVED_ALONE * 0.1),),
        (BudgetLevel(LEAST_S, IMPROVED_ALONE * 1.0),),
    ]
