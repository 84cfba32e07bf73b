"""Which streams are planned together: those whose policies ask for one joint answer in the same terms. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from planning.strategies.registry import traits_of
from planning.strategies.traits import Joint
from services.planner.problems.snapshot import FleetSnapshot
from shared.policy import Objective, Policy

JOINT_OBJECTIVES = frozenset({Objective.TOTAL_DELAY, Objective.DELAY_VARIANCE})
"""Sums over all streams that share a server: planned one by one they mean something else."""

_INDIFFERENT = Policy()


def is_joint(policy: Policy) -> bool:
    """Return whether a stream with this policy is planned together with others of the same terms."""
    traits = traits_of(policy.strategy)
    return policy.objective in JOINT_OBJECTIVES or (traits is not None and traits.joint is Joint.ON_A_FLEET)


def terms(policy: Policy) -> Policy:
    """Return what of a policy has to agree: everything that one problem has only once.

    Deadlines are of a stream; gain, cooldown, requests in flight and retries are not the strategy's business.
    """
    return replace(
        policy,
        deadline_ms=None,
        min_gain=_INDIFFERENT.min_gain,
        cooldown_ms=_INDIFFERENT.cooldown_ms,
        max_in_flight=_INDIFFERENT.max_in_flight,
        retry_limit=_INDIFFERENT.retry_limit,
    )


def group_of(stream: str, snapshot: FleetSnapshot) -> tuple[str, ...]:
    """Return the declared streams that are planned together with ``stream``, itself included, by name."""
    wanted = snapshot.policy(stream)
    if not is_joint(wanted):
        return (stream,)
    agreed = terms(wanted)
    fellows = {other for other in snapshot.streams if terms(snapshot.policy(other)) == agreed}
    return tuple(sorted({stream, *fellows}))


def joint_policy(policies: Sequence[Policy]) -> Policy:
    """Return the policy of the problem of streams that agree: the only one's own, or the common terms."""
    return policies[0] if len(policies) == 1 else terms(policies[0])
