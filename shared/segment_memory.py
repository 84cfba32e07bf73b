"""Memory that segments take on a device: the one formula."""

from collections.abc import Iterable
from typing import TypeVar

Amount = TypeVar("Amount", int, float)


def segment_memory_bytes(parameter_bytes: Iterable[Amount], activation_bytes: Iterable[Amount]) -> Amount:
    """Return the parameters of all parts plus the largest activation of any part, in bytes.

    Parameters stay in memory as long as a segment is loaded. A device runs one segment at a time, and a segment one
    block at a time. So the largest activation is all that they need together beside the parameters.

    Args:
        parameter_bytes: size of the parameters of every part (a block, or a whole segment).
        activation_bytes: largest activation while each part runs.
    """
    return sum(parameter_bytes) + max(activation_bytes, default=0)
