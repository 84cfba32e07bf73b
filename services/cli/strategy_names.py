"""Names of strategies, looked at before a planner is asked."""

from shared.plan.guesses import guess
from shared.plan.policy import Policy


def strategy_fault(policy: Policy) -> str | None:
    """Say that there is no strategy of that name, and which there are; None if there is one.

    Where no planner is installed nothing can be said: the fleet's own planner judges.
    """
    if policy.strategy == Policy().strategy:
        return None
    try:
        from services.planner.strategies import known_strategies
    except ModuleNotFoundError:
        return None
    known, name = known_strategies(), policy.strategy
    return None if name in known else f"there is no {name}{guess(name, known)}; known: {', '.join(sorted(known))}"
