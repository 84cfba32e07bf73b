"""Times and sizes of probes, and the command to send one."""

from dataclasses import dataclass

from shared.transport_mode import Carrier


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """Times and sizes of probes.

    Attributes:
        idle_s: time without transfers after which a link is probed.
        unused_s: the time of `idle_s` for a way that no stream could use.
        doubt_s: pause between probes of a link that is new or whose last sample deviated.
        doubts: rounds with this pause; later ones double it, up to `idle_s`.
        share: largest part of a link's bandwidth that probes may take; slow links are probed less often.
        day_bytes: bytes that probes of a link may take per day while no stream could use it.
        is_metered: whether no probe is sent, and none is answered. Then transfers alone measure the links.
        assumed_mbps: bandwidth of the links of a metered device before their first transfer; None if it is unknown.
        target_ms: desired transmission time of a padded probe, well above the jitter of the scheduler.
        least_bytes: smallest padded probe.
        most_bytes: largest padded probe of a link whose estimate is not contradicted.
        proof_bytes: largest padded probe that proves a new or a much faster link.
        first_bytes: padded probe of a link without an estimate.
        repeats: padded probes in a row, of which the fastest counts; one is enough if it confirms the estimate.
        timeout_s: a tiny probe without an echo is lost after this; a padded one after four times this.
        losses: consecutive lost probes after which a link counts as down.
        jitter: pauses vary at random by up to this part. So monitors that began together do not keep probing each other
            at the same moments.
        yield_s: longest wait for a peer that is probing this device.
    """

    idle_s: float = 2.0
    unused_s: float = 20.0
    doubt_s: float = 0.2
    doubts: int = 15
    share: float = 0.01
    day_bytes: float = 50e6
    is_metered: bool = False
    assumed_mbps: float | None = None
    target_ms: float = 20.0
    least_bytes: int = 2 * 1024
    most_bytes: int = 128 * 1024
    proof_bytes: int = 1024 * 1024
    first_bytes: int = 16 * 1024
    repeats: int = 2
    timeout_s: float = 3.0
    losses: int = 3
    jitter: float = 0.25
    yield_s: float = 0.5


@dataclass(frozen=True, slots=True)
class SendProbe:
    """A probe to send now.

    Attributes:
        target: device that echoes the probe: its monitor, or its executor on a direct connection.
        probe_id: returned in the echo.
        padding_bytes: 0 for a tiny probe.
        carrier: its way.
    """

    target: str
    probe_id: str
    padding_bytes: int
    carrier: Carrier = Carrier.MQTT
