"""Checks of policies before they are published."""

import json
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.exit_status import InputError
from shared.policy import Policy, read_policy
from shared.suggestions import closest_name


def check_policy(document: dict[str, Any]) -> None:
    """Check the JSON values of a policy.

    Raises:
        InputError: with one line per fault.
    """
    try:
        policy = read_policy(json.dumps(document))
    except ValidationError as error:
        raise InputError("\n".join(map(_fault, error.errors()))) from error
    fault = strategy_fault(policy)
    if fault is not None:
        raise InputError(f"strategy: {fault}")


def strategy_fault(policy: Policy) -> str | None:
    """Return a message with the known strategies if there is none of the policy's name; else None.

    Without the planning packages no strategy is known here. Then only the fleet's planner checks the name.
    """
    if policy.strategy == Policy().strategy:
        return None
    try:
        from planning.strategies import known_strategies
    except ModuleNotFoundError:
        return None
    known, name = known_strategies(), policy.strategy
    if name in known:
        return None
    return f"there is no {name}{closest_name(name, known)}; known: {', '.join(sorted(known))}"


def _fault(fault: ErrorDetails) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "string_pattern_mismatch":
        return f"{place}: {fault['input']!r} cannot be a name: small letters, digits, '_', '+', '-'"
    unknown = fault["type"] in ("unexpected_keyword_argument", "extra_forbidden")
    return f"{place or 'policy'}: {'unknown key' if unknown else fault['msg']}"
