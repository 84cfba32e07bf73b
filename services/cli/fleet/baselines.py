"""What other plans would have cost, predicted with the planner's own cost model under given conditions. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations

from services.cli.fleet.scenario import Conditions
from shared.messages.devices import Profile
from shared.messages.models import Manifest
from shared.messages.streams import PlanRoute
from shared.plan.cost import CostModel, NoLinkError
from shared.plan.plan import Route, Stage, Tile
from shared.plan.problem import Block, Device, Link, Model, Problem, Stream

_MODEL = "model"


@dataclass(frozen=True, slots=True)
class Ground:
    """What is known of the fleet whatever the conditions.

    Attributes:
        manifest: the model.
        profiles: what its blocks cost on every device, idle.
        source: where requests arise.
        input_bytes: median size of a request as it arises, a JPEG say.
    """

    manifest: Manifest
    profiles: Mapping[str, Profile]
    source: str
    input_bytes: int


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
    """Search all sequential plans of at most `max_devices` devices, cut at the cuts that can pay.

    A single device away from the source receives the request as it arises (the JPEG). The fixed plan is the one with
    the least mean over the phases among those that can run in all of them.

    Args:
        ground: model, profiles, source.
        phases: the true conditions of each phase.
        max_devices: longest route.
    """
    models = [_cost_model(ground, conditions) for conditions in phases]
    singles = [[_alternative(model, _single(ground, device)) for device in ground.profiles] for model in models]
    best_total, best_route = float("inf"), _single(ground, ground.source)
    for route in _routes(ground, max_devices):
        total = 0.0
        for model in models:
            latency_ms = _latency_ms(model, route)
            total += float("inf") if latency_ms is None else latency_ms
            if total >= best_total:
                break
        if total < best_total:
            best_total, best_route = total, route
    return Baselines(
        single=tuple(min(each, key=_cost) for each in singles),
        fixed=tuple(_alternative(model, best_route) for model in models),
    )


def _cost_model(ground: Ground, conditions: Conditions) -> CostModel:
    blocks = tuple(
        Block(
            name=block.name,
            output_bytes=block.output_bytes,
            flops=block.flops,
            parameter_bytes=block.parameter_bytes,
            activation_bytes=block.activation_bytes,
        )
        for block in ground.manifest.blocks
    )
    devices = {
        name: Device(
            block_ms={_MODEL: profile.block_ms},
            load_factor=conditions.load.get(name, 1.0),
            segment_overhead_ms=profile.segment_overhead_ms,
        )
        for name, profile in ground.profiles.items()
        if name not in conditions.dead
    }
    links = tuple(
        Link(link.between[0], link.between[1], link.bandwidth_mbps, link.latency_ms)
        for pair, link in conditions.links.items()
        if pair[0] in devices and pair[1] in devices
    )
    model = Model(input_bytes=ground.input_bytes, blocks=blocks)
    stream = Stream(name="stream", model=_MODEL, source=ground.source)
    return CostModel(Problem(models={_MODEL: model}, devices=devices, links=links, streams=(stream,)))


def _latency_ms(model: CostModel, route: Route) -> float | None:
    try:
        return model.latency_ms(model.problem.streams[0], route)
    except (NoLinkError, KeyError):
        return None


def _single(ground: Ground, device: str) -> Route:
    return Route((Stage(0, len(ground.manifest.blocks), (Tile(device),)),))


def _routes(ground: Ground, max_devices: int) -> Iterator[Route]:
    stop = len(ground.manifest.blocks)
    cuts = _paying_cuts(ground)
    for count in range(1, min(max_devices, len(ground.profiles)) + 1):
        for devices in permutations(ground.profiles, count):
            for chosen in combinations(cuts, count - 1):
                bounds = (0, *chosen, stop)
                yield Route(tuple(Stage(bounds[i], bounds[i + 1], (Tile(devices[i]),)) for i in range(count)))


def _paying_cuts(ground: Ground) -> tuple[int, ...]:
    """Return the cuts behind which fewer bytes cross than behind every earlier one (Duan & Wu 2021, section 3.2).

    For the longest routes other cuts might pay too; they are left out so that the search stays short.
    """
    kept: list[int] = []
    smallest = float("inf")
    for index, block in enumerate(ground.manifest.blocks[:-1], start=1):
        if block.output_bytes < smallest:
            smallest = block.output_bytes
            kept.append(index)
    return tuple(kept)


def _alternative(model: CostModel, route: Route) -> Alternative:
    text = " > ".join(f"{stage.device}[{stage.start},{stage.stop})" for stage in route.stages)
    return Alternative(text, _latency_ms(model, route))


def _cost(alternative: Alternative) -> float:
    return float("inf") if alternative.predicted_ms is None else alternative.predicted_ms
