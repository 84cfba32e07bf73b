"""How the feature maps of a stream travel, and what direct connections would change."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.cli.render.fleet_view import DeviceView, FleetView, StreamView
from shared.link_time import transfer_ms
from shared.messages.devices import LinkEstimate
from shared.messages.streams import comes_in_parts
from shared.transport_mode import Carrier, TransportMode


@dataclass(frozen=True, slots=True)
class RouteHop:
    """A hop of a plan in force.

    Attributes:
        source: the sending device.
        target: the receiving device.
        carrier: what carries its feature maps.
        size_bytes: of the feature map, not encoded.
        brokered_ms: expected time through the broker; None without an estimate of the link.
        direct_ms: expected time over a direct connection; None without one.
        is_failing: both devices have direct connections, and none comes about.
    """

    source: str
    target: str
    carrier: Carrier
    size_bytes: int
    brokered_ms: float | None
    direct_ms: float | None
    is_failing: bool

    @property
    def text(self) -> str:
        """One line for people."""
        is_direct = self.carrier is Carrier.DIRECT
        way, own_ms, other_ms = "", self.brokered_ms, self.direct_ms
        if is_direct:
            way, own_ms, other_ms = " directly", self.direct_ms, self.brokered_ms
        what = f"{self.size_bytes / 1000:.0f} kB{way} from {self.source} to {self.target}"
        if own_ms is None:
            return f"{what}, in an unknown time"
        if other_ms is None:
            return f"{what} in {own_ms:.1f} ms"
        return f"{what} in {own_ms:.1f} ms ({'through the broker' if is_direct else 'directly'}: {other_ms:.1f} ms)"


def route_hops(view: FleetView, stream: StreamView) -> Iterator[RouteHop]:
    """Yield the hops of a stream's first route, that of the request to another device than its source included.

    Those of rows, from and to tiles, are left out.
    """
    plan = stream.plan
    manifest = None if plan is None else view.manifests.get(plan.model)
    if plan is None or manifest is None:
        return
    stages = plan.routes[0].stages
    requests_bytes = 0 if stream.usage is None else stream.usage.input_bytes
    sent = [(plan.source, requests_bytes)]
    sent += [(stage.device, manifest.blocks[stage.stop - 1].output_bytes) for stage in stages[:-1]]
    for index, ((source, size_bytes), stage) in enumerate(zip(sent, stages, strict=True)):
        target = stage.device
        # Rows of tiles pass between several devices at the same time.
        if comes_in_parts(stages, index):
            continue
        # Before the first request its size is unknown.
        if source != target and size_bytes:
            links = _links(view.devices.get(source), target)
            direct = links.get(Carrier.DIRECT)
            is_wanted = _may_be_direct(view, (source, target), plan.transport)
            is_failing = is_wanted and direct is not None and direct.bandwidth_mbps <= 0
            yield RouteHop(
                source,
                target,
                Carrier.DIRECT if is_wanted and not is_failing else Carrier.MQTT,
                size_bytes,
                _time_ms(links.get(Carrier.MQTT), size_bytes),
                _time_ms(direct, size_bytes),
                is_failing,
            )


def brokered_hops(view: FleetView, stream: StreamView) -> list[RouteHop]:
    """Return the hops of a stream's first route whose feature maps travel through the broker."""
    return [hop for hop in route_hops(view, stream) if hop.carrier is Carrier.MQTT]


def transport_text(view: FleetView, stream: StreamView) -> str | None:
    """Return how feature maps travel, and what direct connections would change, in one line; None without a hop."""
    advised = transport_advice(view, stream)
    if advised is not None:
        return advised
    hops = [hop.text for hop in route_hops(view, stream)]
    return f"each request sends {'; '.join(hops)}" if hops else None


def transport_advice(view: FleetView, stream: StreamView) -> str | None:
    """Return what direct connections would change for a stream, in one line; None if nothing."""
    hops = brokered_hops(view, stream)
    if not hops:
        return None
    sent = "; ".join(hop.text for hop in hops)
    saved_ms = sum((hop.brokered_ms or 0.0) - hop.direct_ms for hop in hops if hop.direct_ms is not None)
    failing = [hop for hop in hops if hop.is_failing]
    if failing:
        ways = ", ".join(f"from {hop.source} to {hop.target}" for hop in failing)
        end = f"no direct connection comes about {ways}"
    elif saved_ms > 0:
        end = f"direct connections would save {saved_ms:.1f} ms of each request"
    else:
        # Each byte travels to the broker and from there on; beside the network, the broker itself takes its time.
        end = "direct connections would save the detour, up to half of that time or more on a fast network"
    return f"each request sends {sent} through the broker; {end}"


def advice_text(view: FleetView, stream: StreamView) -> str:
    """Return how to get direct connections for a stream."""
    if stream.plan is not None and stream.plan.transport is TransportMode.MQTT:
        return f"segue policy set {stream.name} --transport auto"
    failing = [hop.target for hop in brokered_hops(view, stream) if hop.is_failing]
    if failing:
        return f"check that the others reach {', '.join(failing)}: segue executor --direct-host, --direct-port"
    devices = sorted({hop for each in brokered_hops(view, stream) for hop in (each.source, each.target)})
    return f"start the executors of {', '.join(devices)} with --transport auto"


def _may_be_direct(view: FleetView, ends: tuple[str, str], mode: TransportMode | None) -> bool:
    offers = [
        device is not None and device.presence is not None and Carrier.DIRECT.value in device.presence.transports
        for device in map(view.devices.get, ends)
    ]
    return all(offers) and (mode is None or mode.allows(Carrier.DIRECT))


def _links(device: DeviceView | None, target: str) -> dict[Carrier, LinkEstimate]:
    links = () if device is None or device.links is None else device.links.links
    return {link.transport: link for link in links if link.target == target}


def _time_ms(link: LinkEstimate | None, size_bytes: int) -> float | None:
    if link is None or link.bandwidth_mbps <= 0:
        return None
    return transfer_ms(size_bytes, link.latency_ms, link.bandwidth_mbps)
