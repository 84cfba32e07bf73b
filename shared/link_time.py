"""Time of a transfer on a link: the one formula, its inverses, and the noise of measured times.

    transfer_ms = latency_ms + transmission_ms
    transmission_ms = 8 x size_bytes / (1000 x bandwidth_mbps)

One Mbps is 10^6 bits per second, so 1000 bits or 125 bytes per millisecond. The time is a line in 1 / bandwidth, with
the intercept ``latency_ms`` and the slope ``transmission_ms(size_bytes, 1.0)``. It is also a line in the size, with the
slope ``transmission_ms(1.0, bandwidth_mbps)`` in ms per byte.
"""

import math
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    # The formulas accept numpy arrays of sizes, but need no numpy to be installed.
    import numpy as np
    from numpy.typing import NDArray

Size = TypeVar("Size", float, "NDArray[np.float64]")

# Jitter of one transfer (scheduler and broker), ms. Smaller differences are noise.
NOISE_MS: Final = 1.5
# Least expected time of a transfer, ms, that proves a slow link by being overdue: a single disturbance is shorter.
CONCLUSIVE_MS: Final = 10 * NOISE_MS
# Number of measurements in a row that must agree before they replace an estimate.
CONFIRMATIONS: Final = 2
# The same for measurements each of which proves little: the processor delays several in a row.
WEAK_CONFIRMATIONS: Final = 3 * CONFIRMATIONS
# A rise of the bandwidth beyond this factor needs a larger transfer, or as many: it may be the burst of a token bucket.
MUCH_FASTER: Final = 2.0


def transmission_ms(size_bytes: Size, bandwidth_mbps: float) -> Size:
    """Return the time of ``size_bytes`` on a link without its latency, in ms; infinite on a link of 0 Mbps.

    Args:
        size_bytes: a size, or an array of sizes of any shape.
        bandwidth_mbps: 10^6 bits per second; infinity for a link without limit.
    """
    if bandwidth_mbps <= 0:
        return size_bytes + math.inf
    return 8 * size_bytes / (1000 * bandwidth_mbps)


def transfer_ms(size_bytes: Size, latency_ms: float, bandwidth_mbps: float) -> Size:
    """Return latency + transmission time of ``size_bytes``, in ms; see `transmission_ms`."""
    return latency_ms + transmission_ms(size_bytes, bandwidth_mbps)


def bandwidth_of_mbps(size_bytes: float, time_ms: float) -> float:
    """Return the bandwidth, in Mbps, at which ``size_bytes`` take ``time_ms`` > 0 without latency."""
    return 8 * size_bytes / (1000 * time_ms)


def proves_little(size_bytes: float, bandwidth_mbps: float) -> bool:
    """Return whether one transfer of this size is too short to show that a link of this bandwidth has become slower."""
    return transmission_ms(size_bytes, bandwidth_mbps) < CONCLUSIVE_MS / 3


def bytes_within(time_ms: float, bandwidth_mbps: float) -> float:
    """Return the number of bytes that a link transmits in ``time_ms``, its latency left aside."""
    return bandwidth_mbps * 125 * time_ms
