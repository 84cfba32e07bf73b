"""Time budgets of which a larger one contains the smaller ones, so that more budget never gives a worse plan."""

from dataclasses import dataclass

# The smallest budget at which candidates are tried, and the ratio to the next one.
LEAST_S, RATIO = 0.1, 10.0

# A level's plans are improved until the work of so many times its budget is done. Then those of the next level join.
IMPROVED = 5.0

# The same, where candidates take hardly any time.
IMPROVED_ALONE = 1.25


@dataclass(frozen=True, slots=True)
class BudgetLevel:
    """A step of a search.

    Attributes:
        candidates_s: time budget of the candidates.
        improved_s: time budget of the improvement at the end of the level, that of earlier levels included.
    """

    candidates_s: float
    improved_s: float


def nested_budgets(time_budget_s: float) -> tuple[BudgetLevel, ...]:
    """Return the levels of a search, in the order in which their plans join.

    The candidates of a larger budget include those of a smaller one, and its improvement begins like that of a smaller
    one. A budget below LEAST_S is a level of its own.
    """
    if time_budget_s < LEAST_S:
        return (BudgetLevel(time_budget_s, time_budget_s),)
    levels: list[BudgetLevel] = []
    level_s = LEAST_S
    while level_s <= time_budget_s:
        levels.append(BudgetLevel(level_s, min(time_budget_s, IMPROVED * level_s)))
        level_s *= RATIO
    return tuple(levels)


def least_candidates(time_budget_s: float) -> tuple[BudgetLevel, ...]:
    """Return the only level of a search whose candidates are tried at the smallest budget, and then improved."""
    return (BudgetLevel(min(LEAST_S, time_budget_s), IMPROVED_ALONE * time_budget_s),)
