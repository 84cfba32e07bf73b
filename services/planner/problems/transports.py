"""Which transport carries the feature maps between two devices, and the estimate of the link that belongs to it."""

from collections.abc import Iterator, Mapping

from services.planner.problems.snapshot import DeviceState, LinkState
from shared.transport_mode import Carrier, TransportMode


def carrier_in_force(source: DeviceState, target: DeviceState, mode: TransportMode | None) -> Carrier | None:
    """Return what carries feature maps from one device to another; None if nothing may.

    Args:
        source: the sending device.
        target: the receiving device.
        mode: of the policy; None leaves the choice to the sending device.
    """
    allowed = [carrier for carrier in Carrier if _allows(source, mode, carrier)]
    is_direct = all(Carrier.DIRECT.value in device.transports for device in (source, target))
    if Carrier.DIRECT in allowed and is_direct:
        return Carrier.DIRECT
    return Carrier.MQTT if Carrier.MQTT in allowed else None


def links_in_force(
    online: Mapping[str, DeviceState], mode: TransportMode | None
) -> Iterator[tuple[str, str, LinkState]]:
    """Yield source, target and estimate of every link between online devices that something may use.

    A direct link that has carried nothing yet has the estimate of the link through the broker.
    """
    for source, state in online.items():
        for target in dict.fromkeys((*state.links, *state.direct_links)):
            if target not in online or target == source:
                continue
            carrier = carrier_in_force(state, online[target], mode)
            brokered = state.links.get(target)
            link = state.direct_links.get(target, brokered) if carrier is Carrier.DIRECT else brokered
            if carrier is not None and link is not None:
                yield source, target, link


def _allows(source: DeviceState, mode: TransportMode | None, carrier: Carrier) -> bool:
    return carrier.value in source.transports if mode is None else mode.allows(carrier)
