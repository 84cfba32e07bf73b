"""Which transport carries the feature maps between two devices, and the estimate of the link that belongs to it."""

from collections.abc import Iterator, Mapping

from services.planner.problems.snapshot import DeviceState, LinkState
from shared.transport_mode import Carrier, TransportMode


def carrier_in_force(
    source: DeviceState, target: DeviceState, mode: TransportMode | None, direct: LinkState | None = None
) -> Carrier | None:
    """Return what carries feature maps from one device to another; None if nothing may.

    Args:
        source: the sending device.
        target: the receiving device.
        mode: of the policy; None leaves the choice to the sending device.
        direct: estimate of the direct way; with bandwidth 0 there is no connection at present.
    """
    allowed = [carrier for carrier in Carrier if _allows(source, mode, carrier)]
    is_direct = all(Carrier.DIRECT.value in device.transports for device in (source, target))
    is_down = direct is not None and direct.bandwidth_mbps <= 0
    if Carrier.DIRECT in allowed and is_direct and not (is_down and Carrier.MQTT in allowed):
        return Carrier.DIRECT
    return Carrier.MQTT if Carrier.MQTT in allowed else None


def links_in_force(
    online: Mapping[str, DeviceState], mode: TransportMode | None
) -> Iterator[tuple[str, str, LinkState]]:
    """Yield source, target and estimate of every link between online devices that something may use.

    A direct link that nothing has measured yet has the estimate of the link through the broker. Where the broker may
    stand in for a direct way that is down, the link has the broker's estimate.
    """
    for source, state in online.items():
        for target in dict.fromkeys((*state.links, *state.direct_links)):
            if target not in online or target == source:
                continue
            brokered, direct = state.links.get(target), state.direct_links.get(target)
            carrier = carrier_in_force(state, online[target], mode, direct)
            link = direct or brokered if carrier is Carrier.DIRECT else brokered
            if carrier is not None and link is not None:
                yield source, target, link


def _allows(source: DeviceState, mode: TransportMode | None, carrier: Carrier) -> bool:
    return carrier.value in source.transports if mode is None else mode.allows(carrier)
