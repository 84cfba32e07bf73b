"""Names of strategies, looked at before a planner is asked."""

from shared.policy import Policy
from shared.suggestions import closest_name


def strategy_fault(policy: Policy) -> str | None:
    """Say that there is no strategy of that name, and which there are; None if there is one.

    Where no planner is installed nothing can be said: the fleet's own planner judges.
    """
    if policy.strategy == Policy().strategy:
        return None
    try:
        from planning.strategies import known_strategies
    except ModuleNotFoundError:
        return None
    known, name = known_strategies(), policy.strategy
    return (
        None if name in known else f"there is no {name}{closest_name(name, known)}; known: {', '.join(sorted(known))}"
    )
