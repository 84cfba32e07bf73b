"""What sending takes on a link, and what noise a measurement of it has, for all who judge one. Pure."""

import math
from typing import Final

NOISE_MS: Final = 1.5
"""What scheduling and the broker add or take on a whim; differences below it contradict nothing."""
TELLING_MS: Final = 10 * NOISE_MS
"""Overdue transfers that should have taken less may only have met a hiccup."""
PATIENCE: Final = 2
"""Measurements in a row that must agree before what was known is given up."""


def transmission_ms(size_bytes: float, bandwidth_mbps: float) -> float:
    """Return how long `size_bytes` take on a link, without latency; infinite on a link of 0 Mbps."""
    return 8 * size_bytes / (1000 * bandwidth_mbps) if bandwidth_mbps > 0 else math.inf
