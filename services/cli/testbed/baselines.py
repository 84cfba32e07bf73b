"""What other plans would have cost, predicted with the planner's own cost model under given conditions. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, pairwise, permutations

from planning.cost.cost_model import CostModel
from planning.cost.route_costs import NoLinkError
from planning.problem.crossings import allowed_encodings
from planning.problem.plan import RAW, Route, Stage, Tile
from planning.problem.problem import Block, Device, Link, Model, Problem, Stream
from services.cli.testbed.conditions import Conditions, stage_text
from services.planner.problems.allowed_encodings import offered
from shared.messages.calibration import Calibration
from shared.messages.devices import Profile
from shared.messages.models import Manifest
from shared.messages.streams import PlanRoute
from shared.policy import Policy

_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known of the fleet whatever the conditions.

    Attributes:
        manifest: the model.
        profiles: what its blocks cost on every device, idle.
        source: where requests arise.
        input_bytes: median size of a request as it arises, a JPEG say.
        policy: what no plan may break.
        calibration: encodings of feature maps; None if all travel raw.
    """

    manifest: Manifest
    profiles: Mapping[str, Profile]
    source: str
    input_bytes: int
    policy: Policy = field(default_factory=Policy)
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """A plan that was not chosen and its predicted latency; None where it cannot run."""

    route: str
    predicted_ms: float | None


@dataclass(frozen=True, slots=True)
class Baselines:
    """For every phase: the best single device in hindsight, and the one plan that is best over all phases."""

    single: tuple[Alternative, ...]
    fixed: tuple[Alternative, ...]


def predict_ms(ground: Ground, conditions: Conditions, route: PlanRoute) -> float | None:
    """Return the predicted latency of a request that is alone, in ms; None if the route cannot run."""
    stages = tuple(Stage(s.start, s.stop, (Tile(s.device),), s.codec) for s in route.stages)
    return _latency_ms(_cost_model(ground, conditions), Route(stages))


def baselines(ground: Ground, phases: Sequence[Conditions], max_devices: int = 3) -> Baselines:
    """Search all sequential plans of at most `max_devices` devices, cut at the cuts that can pay, within the policy.

    A single device away from the source receives the request as it arises (the JPEG). The fixed plan is the one with
    the least mean over the phases among those that can run in all of them; at every cut it sends
    in the encoding that is best for it.

    Args:
        ground: model, profiles, source, policy, calibration.
        phases: the true conditions of each phase.
        max_devices: longest route.
    """
    models = [_cost_model(ground, conditions) for conditions in phases]
    devices = [device for device in ground.profiles if _allows(ground, (device,))]
    singles = [[_alternative(model, _single(ground, device)) for device in devices] for model in models]
    best_total, best_route = float("inf"), _single(ground, ground.source)
    for route in _routes(ground, models, max_devices):
        total = 0.0
        for model in models:
            latency_ms = _latency_ms(model, route)
            total += float("inf") if latency_ms is None else latency_ms
            if total >= best_total:
                break
        if total < best_total:
            best_total, best_route = total, route
    return Baselines(
        single=tuple(min(each, key=_cost, default=Alternative("", None)) for each in singles),
        fixed=tuple(_alternative(model, best_route) for model in models),
    )


def _allows(ground: Ground, devices: Sequence[str]) -> bool:
    policy = ground.policy
    return (
        all(map(policy.devices.permits, devices))
        and (policy.max_devices is None or len(devices) <= policy.max_devices)
        and (not policy.raw_input_stays_on_source or devices[0] == ground.source)
    )


def _model(ground: Ground) -> Model:
    codecs = {} if ground.calibration is None else offered(ground.calibration, ground.policy)
    blocks = tuple(
        Block(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.activation_bytes,
            codecs=codecs.get(index, {}),
        )
        for index, block in enumerate(ground.manifest.blocks)
    )
    return Model(input_bytes=ground.input_bytes, blocks=blocks)


def _cost_model(ground: Ground, conditions: Conditions) -> CostModel:
    own_ms = {name: sum(profile.block_ms) for name, profile in ground.profiles.items()}
    fastest_ms = min(own_ms.values())
    devices = {
        name: Device(
            block_ms={_MODEL: profile.block_ms},
            load_factor=conditions.load.get(name, 1.0),
            segment_overhead_ms=profile.segment_overhead_ms,
            codec_speed=fastest_ms / own_ms[name] if fastest_ms > 0 else 1.0,
        )
        for name, profile in ground.profiles.items()
        if name not in conditions.dead
    }
    links = tuple(
        Link(link.between[0], link.between[1], link.bandwidth_mbps, link.latency_ms)
        for pair, link in conditions.links.items()
        if pair[0] in devices and pair[1] in devices
    )
    stream = Stream(name="stream", model=_MODEL, source=ground.source)
    problem = Problem(
        models={_MODEL: _model(ground)}, devices=devices, links=links, streams=(stream,), policy=ground.policy
    )
    return CostModel(problem)


def _latency_ms(model: CostModel, route: Route) -> float | None:
    try:
        return model.latency_ms(model.problem.streams[0], route)
    except (NoLinkError, KeyError):
        return None


def _single(ground: Ground, device: str) -> Route:
    return Route((Stage(0, len(ground.manifest.blocks), (Tile(device),)),))


def _routes(ground: Ground, models: Sequence[CostModel], max_devices: int) -> Iterator[Route]:
    stop = len(ground.manifest.blocks)
    codecs = _paying_cuts(ground)
    best = {
        (cut, sender, receiver): min(codecs[cut], key=partial(_sending_ms, models, cut, sender, receiver))
        for cut in codecs
        for sender, receiver in permutations(ground.profiles, 2)
    }
    for count in range(1, min(max_devices, len(ground.profiles)) + 1):
        for devices in permutations(ground.profiles, count):
            if not _allows(ground, devices):
                continue
            for chosen in combinations(codecs, count - 1):
                bounds = (0, *chosen, stop)
                sent = [best[cut, *ends] for cut, ends in zip(chosen, pairwise(devices), strict=True)]
                stages = zip(pairwise(bounds), devices, (*sent, RAW), strict=True)
                yield Route(tuple(Stage(*blocks, (Tile(device),), codec) for blocks, device, codec in stages))


def _sending_ms(models: Sequence[CostModel], cut: int, sender: str, receiver: str, codec: str) -> float:
    """Return what it takes to send what crosses a cut, over all phases; infinite where it is not possible in one."""
    total = 0.0
    for model in models:
        encoding = model.encoding(_MODEL, cut, codec)
        try:
            total += model.codec_ms(sender, encoding.encode_ms) + model.codec_ms(receiver, encoding.decode_ms)
            total += model.transfer_ms(sender, receiver, encoding.size_bytes)
        except (NoLinkError, KeyError):
            return float("inf")
    return total


def _paying_cuts(ground: Ground) -> dict[int, tuple[str, ...]]:
    """Return the cuts behind which fewer bytes cross than behind every earlier one, with the codecs that may be used.

    After Duan & Wu (2021, section 3.2), the smallest allowed encoding counting. For the longest routes other cuts
    might pay too; they are left out so that the search stays short.
    """
    model = _model(ground)
    kept: dict[int, tuple[str, ...]] = {}
    smallest = float("inf")
    for cut in range(1, len(model.blocks)):
        allowed = allowed_encodings(model, cut, ground.policy)
        least = min((encoding.size_bytes for encoding in allowed), default=smallest)
        if least < smallest:
            smallest = least
            kept[cut] = tuple(encoding.codec for encoding in allowed)
    return kept


def _alternative(model: CostModel, route: Route) -> Alternative:
    text = " > ".join(stage_text(stage.device, stage.start, stage.stop, stage.codec) for stage in route.stages)
    return Alternative(text, _latency_ms(model, route))


def _cost(alternative: Alternative) -> float:
    return float("inf") if alternative.predicted_ms is None else alternative.predicted_ms
