"""Conditions of a phase: the true state of links, loads and devices, and the emulation that produces it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.cli.testbed.fleet_description import IN_USE, Fleet, LinkDescription, PhaseDescription
from shared.messages.devices import EmulatedLink, Emulation, Links
from shared.messages.streams import CommittedPlan


@dataclass(frozen=True, slots=True)
class Conditions:
    """The true state of the fleet during a phase.

    Attributes:
        links: by their two ends in alphabetical order.
        load: slowdown by device against the idle device; 1 for a device that is not listed.
        dead: devices whose processes do not run.
    """

    links: Mapping[tuple[str, str], LinkDescription]
    load: Mapping[str, float] = field(default_factory=dict)
    dead: frozenset[str] = frozenset()


def usual_conditions(fleet: Fleet) -> Conditions:
    """Return the conditions that the description of the fleet sets for every phase."""
    return Conditions(links={link.pair: link for link in fleet.links})


def phase_conditions(fleet: Fleet, phase: PhaseDescription, in_use: str) -> Conditions:
    """Return the conditions of a phase. `in_use` is the device that replaces the placeholder `in-use`."""
    usual = usual_conditions(fleet)
    return Conditions(
        links={**usual.links, **{link.pair: link for link in phase.links}},
        load={(in_use if device == IN_USE else device): factor for device, factor in phase.load.items()},
        dead=frozenset() if phase.kill is None else frozenset([in_use if phase.kill == IN_USE else phase.kill]),
    )


def measured_conditions(links: Iterable[Links], load: Mapping[str, float], dead: frozenset[str]) -> Conditions:
    """Return the conditions of real devices as their monitors measure them.

    Args:
        links: the links of every device; the slower direction of a link counts.
        load: load factors by device.
        dead: devices whose processes do not run.
    """
    slower: dict[tuple[str, str], LinkDescription] = {}
    for sender in links:
        for link in sender.links:
            if link.bandwidth_mbps <= 0:
                continue
            described = LinkDescription((sender.device, link.target), link.bandwidth_mbps, link.latency_ms)
            other = slower.get(described.pair)
            if other is None or described.bandwidth_mbps < other.bandwidth_mbps:
                slower[described.pair] = described
    return Conditions(links=slower, load=dict(load), dead=dead)


def emulations(fleet: Fleet, conditions: Conditions) -> tuple[Emulation, ...]:
    """Return the emulation of every device of the fleet under `conditions`."""
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
    """Return the emulated link to a peer; one with bandwidth 0, which carries nothing, if none is described."""
    if link is None:
        return EmulatedLink(target=peer, bandwidth_mbps=0.0)
    return EmulatedLink(target=peer, bandwidth_mbps=link.bandwidth_mbps, latency_ms=link.latency_ms)


def device_in_use(plan: CommittedPlan) -> str:
    """Return the device other than the source with most blocks on the route of largest weight; else the source."""
    route = max(plan.routes, key=lambda candidate: candidate.weight)
    blocks: dict[str, int] = {}
    for stage in route.stages:
        for device in stage.devices:
            if device != plan.source:
                blocks[device] = blocks.get(device, 0) + stage.stop - stage.start
    return max(blocks, key=blocks.__getitem__, default=plan.source)


def describe_conditions(fleet: Fleet, conditions: Conditions) -> str:
    """Return one line with the differences between `conditions` and the usual ones."""
    usual = usual_conditions(fleet)
    parts = [
        f"link {pair[0]} - {pair[1]} at {link.bandwidth_mbps:g} of {usual.links[pair].bandwidth_mbps:g} Mbps"
        for pair, link in conditions.links.items()
        if link != usual.links[pair]
    ]
    parts += [f"{device} {factor:g} times slower" for device, factor in conditions.load.items() if factor != 1]
    parts += [f"{device} killed" for device in sorted(conditions.dead)]
    return ", ".join(parts) or "as described"
