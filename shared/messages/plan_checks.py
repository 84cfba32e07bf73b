"""Faults of a committed plan that show only beside its model, its stream and a clock."""

from collections.abc import Collection
from typing import Final

from shared.messages.bounds import MAX_INTEGER
from shared.messages.models import Manifest
from shared.messages.streams import CommittedPlan

# Plans of other origin have at most this epoch: above it there is room for 2^52 plans of the planner.
MAX_FOREIGN_EPOCH: Final = MAX_INTEGER // 2
# A commit further ahead of the reader's clock is no difference of two clocks: without a battery, or with an old image,
# a clock may be years behind.
_MAX_AHEAD_S: Final = 10 * 365 * 86_400.0
# A clock before this has not been set since the device started, and tells nothing about the time of others.
_CLOCK_IS_SET_S: Final = 1_600_000_000.0


def plan_misfit(plan: CommittedPlan, manifests: Collection[Manifest], declared_model: str, now_s: float) -> str | None:
    """Return why a plan cannot be one of its stream; None if nothing contradicts it.

    Args:
        plan: as decoded.
        manifests: of the known models, in all known versions.
        declared_model: SHA-256 or alias in the stream's declaration; empty if it is not known.
        now_s: wall clock of the reader.
    """
    if plan.epoch > MAX_FOREIGN_EPOCH:
        return f"epoch {plan.epoch} leaves no room for later ones"
    if now_s > _CLOCK_IS_SET_S and plan.committed_at_s > now_s + _MAX_AHEAD_S:
        return f"it was committed {(plan.committed_at_s - now_s) / 86_400:.0f} days in the future, by this clock"
    own = [each for each in manifests if each.model == plan.model]
    manifest = next(iter(own), None)
    stop = plan.routes[0].stages[-1].stop
    if manifest is not None and all(stop != len(each.blocks) for each in own):
        return f"its routes end after block {stop}, and model {manifest.name} has {len(manifest.blocks)} blocks"
    if _is_declared(plan, manifest, manifests, declared_model):
        return None
    return f"it is of model {plan.model[:12]}, and the stream is declared with {declared_model[:64]}"


def _is_declared(
    plan: CommittedPlan, manifest: Manifest | None, manifests: Collection[Manifest], declared_model: str
) -> bool:
    if declared_model in ("", plan.model):
        return True
    if manifest is not None:
        # An earlier model of the same alias may be in force until the planner has replaced it.
        return manifest.name == declared_model
    # A model that is not known yet may have the alias, unless another one is known by it.
    is_alias = len(declared_model) != len(plan.model)
    return is_alias and all(each.name != declared_model for each in manifests)
