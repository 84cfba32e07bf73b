"""Baselines of a run: the best single device of each phase, and the best plan that never changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, pairwise, permutations
from math import inf
from typing import Final

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import NoLinkError
from planning.problem.crossings import allowed_encodings
from planning.problem.plan import RAW, Route, Stage, Tile
from services.cli.render.route_text import committed_stage_text
from services.cli.testbed.conditions import Conditions
from services.cli.testbed.predictions import (
    MODEL_KEY,
    PredictionBasis,
    cost_model,
    planning_model,
    route_latency_ms,
)

# Largest number of devices on the fixed plan's route. The effort of the search grows with its factorial.
_MAX_DEVICES: Final = 3


@dataclass(frozen=True, slots=True)
class BaselinePlan:
    """A plan for comparison and its predicted latency; None if it cannot run."""

    route: str
    predicted_ms: float | None


@dataclass(frozen=True, slots=True)
class Baselines:
    """The baselines by phase.

    Attributes:
        single: the best single device of each phase, chosen in hindsight.
        fixed: the plan that is best over all phases.
    """

    single: tuple[BaselinePlan, ...]
    fixed: tuple[BaselinePlan, ...]


def find_baselines(basis: PredictionBasis, phases: Sequence[Conditions]) -> Baselines:
    """Search all sequential plans within the policy, cut at the cuts that can pay.

    A single device away from the source receives the payload of the request (a JPEG for example). The fixed plan has
    the smallest mean latency over the phases among the plans that run in all of them. At every cut it sends in the
    best encoding for that cut and link.

    Args:
        basis: model, profiles, source, policy, calibration.
        phases: the true conditions of each phase.
    """
    models = [cost_model(basis, conditions) for conditions in phases]
    singles = [_whole_model_on(basis, device) for device in basis.profiles if _is_allowed(basis, (device,))]
    fixed, fixed_ms = _whole_model_on(basis, basis.source), inf
    for route in _routes(basis, models):
        total_ms = _total_ms(models, route, limit_ms=fixed_ms)
        if total_ms < fixed_ms:
            fixed, fixed_ms = route, total_ms
    return Baselines(
        single=tuple(
            min((_plan(model, route) for route in singles), key=_predicted_ms, default=BaselinePlan("", None))
            for model in models
        ),
        fixed=tuple(_plan(model, fixed) for model in models),
    )


def _is_allowed(basis: PredictionBasis, devices: Sequence[str]) -> bool:
    policy = basis.policy
    return (
        all(map(policy.devices.permits, devices))
        and (policy.max_devices is None or len(devices) <= policy.max_devices)
        and (not policy.raw_input_stays_on_source or devices[0] == basis.source)
    )


def _whole_model_on(basis: PredictionBasis, device: str) -> Route:
    return Route((Stage(0, len(basis.manifest.blocks), (Tile(device),)),))


def _routes(basis: PredictionBasis, models: Sequence[CostModel]) -> Iterator[Route]:
    """Yield the allowed routes of up to `_MAX_DEVICES` different devices."""
    stop = len(basis.manifest.blocks)
    codecs = _paying_cuts(basis)
    # The cost of a transfer depends on cut, sender and receiver only, so its best encoding is chosen once for each.
    best_codec = {
        (cut, sender, receiver): min(codecs[cut], key=partial(_sending_ms, models, cut, sender, receiver))
        for cut in codecs
        for sender, receiver in permutations(basis.profiles, 2)
    }
    for count in range(1, min(_MAX_DEVICES, len(basis.profiles)) + 1):
        for devices in permutations(basis.profiles, count):
            if not _is_allowed(basis, devices):
                continue
            for cuts in combinations(codecs, count - 1):
                bounds = (0, *cuts, stop)
                sent = [best_codec[cut, *ends] for cut, ends in zip(cuts, pairwise(devices), strict=True)]
                stages = zip(pairwise(bounds), devices, (*sent, RAW), strict=True)
                yield Route(tuple(Stage(*blocks, (Tile(device),), codec) for blocks, device, codec in stages))


def _paying_cuts(basis: PredictionBasis) -> dict[int, tuple[str, ...]]:
    """Return the cuts that transfer fewer bytes than every earlier one, with the codecs that the policy allows.

    After Duan & Wu (2021, section 3.2), with the smallest allowed encoding as the size of a cut. For the longest routes
    other cuts might pay as well. They are left out to keep the search short.
    """
    model = planning_model(basis)
    cuts: dict[int, tuple[str, ...]] = {}
    smallest = inf
    for cut in range(1, len(model.blocks)):
        allowed = allowed_encodings(model, cut, basis.policy)
        least = min((encoding.size_bytes for encoding in allowed), default=smallest)
        if least < smallest:
            smallest = least
            cuts[cut] = tuple(encoding.codec for encoding in allowed)
    return cuts


def _sending_ms(models: Sequence[CostModel], cut: int, sender: str, receiver: str, codec: str) -> float:
    """Return the time to send the tensors of a cut, summed over all phases; infinite if a phase has no such link."""
    total_ms = 0.0
    for model in models:
        encoding = model.encoding(MODEL_KEY, cut, codec)
        try:
            total_ms += model.codec_ms(sender, encoding.encode_ms) + model.codec_ms(receiver, encoding.decode_ms)
            total_ms += model.transfer_ms(sender, receiver, encoding.size_bytes)
        except (NoLinkError, KeyError):
            return inf
    return total_ms


def _total_ms(models: Sequence[CostModel], route: Route, *, limit_ms: float) -> float:
    """Return the latency of a route summed over all phases; infinite if it cannot run in one or reaches the limit."""
    total_ms = 0.0
    for model in models:
        latency_ms = route_latency_ms(model, route)
        if latency_ms is None or total_ms + latency_ms >= limit_ms:
            return inf
        total_ms += latency_ms
    return total_ms


def _plan(model: CostModel, route: Route) -> BaselinePlan:
    text = " > ".join(
        committed_stage_text(stage.device, stage.start, stage.stop, stage.codec) for stage in route.stages
    )
    return BaselinePlan(text, route_latency_ms(model, route))


def _predicted_ms(plan: BaselinePlan) -> float:
    return inf if plan.predicted_ms is None else plan.predicted_ms
