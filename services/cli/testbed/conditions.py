"""Phases and their conditions: what is true of links, load and devices, and how emulated devices are told. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from planning.problem.plan import RAW
from services.cli.testbed.fleet_file import IN_USE, Fleet, LinkDescription, PhaseDescription
from shared.messages.devices import EmulatedLink, Emulation, Links
from shared.messages.streams import CommittedPlan, PlanRoute


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is true during a phase.

    Attributes:
        links: by their two ends in alphabetical order.
        load: how many times slower than idle a device computes; 1 where it is not listed.
        dead: devices whose processes do not run.
    """

    links: Mapping[tuple[str, str], LinkDescription]
    load: Mapping[str, float] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()


def usual_conditions(fleet: Fleet) -> Conditions:
    """Return the conditions outside every phase: as the fleet is described."""
    return Conditions(links={link.pair: link for link in fleet.links})


def phase_conditions(fleet: Fleet, phase: PhaseDescription, in_use: str) -> Conditions:
    """Return the conditions of `phase`, with `in_use` as the device that `in-use` stands for."""
    usual = usual_conditions(fleet)
    return Conditions(
        links={**usual.links, **{link.pair: link for link in phase.links}},
        load={(in_use if device == IN_USE else device): factor for device, factor in phase.load.items()},
        dead=frozenset() if phase.kill is None else frozenset([in_use if phase.kill == IN_USE else phase.kill]),
    )


def measured_conditions(links: Iterable[Links], load: Mapping[str, float], dead: frozenset[str]) -> Conditions:
    """Return what monitors say, for devices that are real: the truth as well as it is known.

    Args:
        links: of every device; of the two directions of a link the slower counts.
        load: load factors by device.
        dead: devices whose processes do not run.
    """
    known: dict[tuple[str, str], LinkDescription] = {}
    for sender in links:
        for link in sender.links:
            if link.bandwidth_mbps <= 0:
                continue
            described = LinkDescription((sender.device, link.target), link.bandwidth_mbps, link.latency_ms)
            other = known.get(described.pair)
            if other is None or described.bandwidth_mbps < other.bandwidth_mbps:
                known[described.pair] = described
    return Conditions(links=known, load=dict(load), dead=dead)


def emulations(fleet: Fleet, conditions: Conditions) -> tuple[Emulation, ...]:
    """Return what every device of the fleet must pretend under `conditions`."""
    return tuple(
        Emulation(
            device=name,
            slowdown=device.slowdown,
            load_factor=conditions.load.get(name, 1.0),
            links=tuple(
                _towards(peer, conditions.links.get(_pair(name, peer))) for peer in fleet.devices if peer != name
            ),
        )
        for name, device in fleet.devices.items()
    )


def _pair(one: str, other: str) -> tuple[str, str]:
    first, second = sorted((one, other))
    return first, second


def _towards(peer: str, link: LinkDescription | None) -> EmulatedLink:
    """Return the emulated link to a peer; without a described one nothing passes."""
    if link is None:
        return EmulatedLink(target=peer, bandwidth_mbps=0.0)
    return EmulatedLink(target=peer, bandwidth_mbps=link.bandwidth_mbps, latency_ms=link.latency_ms)


def device_in_use(plan: CommittedPlan) -> str:
    """Return the device that computes most blocks away from the source on the weightiest route; else the source."""
    route = max(plan.routes, key=lambda candidate: candidate.weight)
    blocks: dict[str, int] = {}
    for stage in route.stages:
        if stage.device != plan.source:
            blocks[stage.device] = blocks.get(stage.device, 0) + stage.stop - stage.start
    return max(blocks, key=blocks.__getitem__, default=plan.source)


def describe_conditions(fleet: Fleet, conditions: Conditions) -> str:
    """Say in one line in what `conditions` differ from the usual."""
    usual = usual_conditions(fleet)
    parts = [
        f"link {pair[0]} - {pair[1]} at {link.bandwidth_mbps:g} of {usual.links[pair].bandwidth_mbps:g} Mbps"
        for pair, link in conditions.links.items()
        if link != usual.links[pair]
    ]
    parts += [f"{device} {factor:g} times slower" for device, factor in conditions.load.items() if factor != 1]
    parts += [f"{device} killed" for device in sorted(conditions.dead)]
    return ", ".join(parts) or "as described"


def route_text(routes: Iterable[PlanRoute]) -> str:
    """Write routes for people: `camera[0,9) uint8 > server[9,23)`, with encodings but raw, several with weights."""
    alternatives = tuple(routes)
    texts = [
        " > ".join(stage_text(stage.device, stage.start, stage.stop, stage.codec) for stage in route.stages)
        for route in alternatives
    ]
    if len(texts) == 1:
        return texts[0]
    return " | ".join(f"{route.weight}x {text}" for route, text in zip(alternatives, texts, strict=True))


def stage_text(device: str, start: int, stop: int, codec: str) -> str:
    """Write a stage for people: its blocks, and the encoding in which it sends on, if that is not raw."""
    return f"{device}[{start},{stop})" + ("" if codec == RAW else f" {codec}")
