"""Groups of streams that are planned together: their policies ask for a joint plan on the same terms."""

from collections.abc import Sequence
from dataclasses import replace

from planning.strategies.registry import traits_of
from planning.strategies.traits import Joint
from services.planner.problems.snapshot import FleetSnapshot
from shared.policy import Objective, Policy

# Objectives over all streams that share a server. Minimising them stream by stream does not minimise the total.
JOINT_OBJECTIVES = frozenset({Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE})

_DEFAULT = Policy()


def is_joint(policy: Policy) -> bool:
    """Return whether a stream with this policy is planned together with others of the same terms."""
    traits = traits_of(policy.strategy)
    return policy.objective in JOINT_OBJECTIVES or (traits is not None and traits.joint is Joint.ON_A_FLEET)


def terms(policy: Policy) -> Policy:
    """Return the terms of a policy: the settings that a problem has once, on which all its streams must agree.

    The rest is set to its default: deadlines belong to a stream, and strategies do not use gain, cooldown, requests in
    flight and retries.
    """
    return replace(
        policy,
        deadline_ms=None,
        min_gain=_DEFAULT.min_gain,
        cooldown_ms=_DEFAULT.cooldown_ms,
        max_in_flight=_DEFAULT.max_in_flight,
        retry_limit=_DEFAULT.retry_limit,
    )


def group_of(stream: str, snapshot: FleetSnapshot) -> tuple[str, ...]:
    """Return the declared streams that are planned together with ``stream``, itself included, by name."""
    policy = snapshot.policy(stream)
    if not is_joint(policy):
        return (stream,)
    agreed = terms(policy)
    others = {other for other in snapshot.streams if terms(snapshot.policy(other)) == agreed}
    return tuple(sorted({stream, *others}))


def joint_policy(policies: Sequence[Policy]) -> Policy:
    """Return the policy of a problem: that of its only stream, or the terms on which its streams agree."""
    return policies[0] if len(policies) == 1 else terms(policies[0])
