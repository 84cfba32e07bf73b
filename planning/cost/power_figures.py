"""What the objective `energy` has to go by."""

from collections.abc import Mapping
from typing import Protocol

from shared.policy import Objective, Policy


class Powered(Protocol):
    """What a device draws, in watts; 0 where nobody has said it."""

    @property
    def power_idle_w(self) -> float: ...
    @property
    def power_active_w(self) -> float: ...
    @property
    def power_tx_w(self) -> float: ...
    @property
    def power_rx_w(self) -> float: ...


def power_doubt(policy: Policy, devices: Mapping[str, Powered]) -> str | None:
    """Say that energy cannot be planned with because nobody gave any power; None if that does not matter.

    Some devices may be without: the energy of a cloud is often nobody's concern.
    """
    if policy.objective is not Objective.ENERGY or not devices or any(map(_is_known, devices.values())):
        return None
    return (
        "energy: no device has power figures, so every plan costs 0 J and none is better: give power_active_w, "
        "power_idle_w, power_tx_w and power_rx_w of the devices (segue executor --power-active-w and so on)"
    )


def _is_known(device: Powered) -> bool:
    return any((device.power_idle_w, device.power_active_w, device.power_tx_w, device.power_rx_w))
