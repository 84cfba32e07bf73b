"""What direct connections would change for streams whose feature maps travel through the broker."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from services.cli.render.fleet_view import DeviceView, FleetView, StreamView
from shared.link_time import transfer_ms
from shared.messages.devices import LinkEstimate
from shared.messages.streams import PlanStage
from shared.transport_mode import Carrier, TransportMode


@dataclass(frozen=True, slots=True)
class BrokeredHop:
    """A hop of a plan in force whose feature maps travel through the broker.

    Attributes:
        source: the sending device.
        target: the receiving device.
        size_bytes: of the feature map, not encoded.
        brokered_ms: expected time through the broker; None without an estimate of the link.
        direct_ms: expected time over a direct connection; None if nothing travelled on one lately.
    """

    source: str
    target: str
    size_bytes: int
    brokered_ms: float | None
    direct_ms: float | None

    @property
    def text(self) -> str:
        """One line for people."""
        what = f"{self.size_bytes / 1000:.0f} kB from {self.source} to {self.target}"
        if self.brokered_ms is None:
            return f"{what}, in an unknown time"
        if self.direct_ms is None:
            return f"{what} in {self.brokered_ms:.1f} ms"
        return f"{what} in {self.brokered_ms:.1f} ms (directly: {self.direct_ms:.1f} ms)"


def brokered_hops(view: FleetView, stream: StreamView) -> Iterator[BrokeredHop]:
    """Yield the hops of a stream's first route whose feature maps travel through the broker."""
    plan = stream.plan
    manifest = None if plan is None else view.manifests.get(plan.model)
    if plan is None or manifest is None:
        return
    stages = plan.routes[0].stages
    for before, after in itertools.pairwise(stages):
        if before.device != after.device and not _is_direct(view, before, after, plan.transport):
            size_bytes = manifest.blocks[before.stop - 1].output_bytes
            links = _links(view.devices.get(before.device), after.device)
            yield BrokeredHop(
                before.device,
                after.device,
                size_bytes,
                _time_ms(links.get(Carrier.MQTT), size_bytes),
                _time_ms(links.get(Carrier.DIRECT), size_bytes),
            )


def transport_advice(view: FleetView, stream: StreamView) -> str | None:
    """Return what direct connections would change for a stream, in one line; None if nothing."""
    hops = list(brokered_hops(view, stream))
    if not hops:
        return None
    sent = "; ".join(hop.text for hop in hops)
    saved_ms = sum((hop.brokered_ms or 0.0) - hop.direct_ms for hop in hops if hop.direct_ms is not None)
    if saved_ms > 0:
        end = f"direct connections would save {saved_ms:.1f} ms of each request"
    else:
        # Each byte travels to the broker and from there on; beside the network, the broker itself takes its time.
        end = "direct connections would save the detour, up to half of that time or more on a fast network"
    return f"each request sends {sent} through the broker; {end}"


def advice_text(view: FleetView, stream: StreamView) -> str:
    """Return how to get direct connections for a stream."""
    if stream.plan is not None and stream.plan.transport is TransportMode.MQTT:
        return f"segue policy set {stream.name} --transport auto"
    devices = sorted({hop for each in brokered_hops(view, stream) for hop in (each.source, each.target)})
    return f"start the executors of {', '.join(devices)} with --transport auto"


def _is_direct(view: FleetView, before: PlanStage, after: PlanStage, mode: TransportMode | None) -> bool:
    offers = [
        device is not None and device.presence is not None and Carrier.DIRECT.value in device.presence.transports
        for device in (view.devices.get(before.device), view.devices.get(after.device))
    ]
    return all(offers) and (mode is None or mode.allows(Carrier.DIRECT))


def _links(device: DeviceView | None, target: str) -> dict[Carrier, LinkEstimate]:
    links = () if device is None or device.links is None else device.links.links
    return {link.transport: link for link in links if link.target == target}


def _time_ms(link: LinkEstimate | None, size_bytes: int) -> float | None:
    if link is None or link.bandwidth_mbps <= 0:
        return None
    return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)
