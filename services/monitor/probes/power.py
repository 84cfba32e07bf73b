"""Electrical power of the device, from RAPL energy counters, hwmon and INA power monitors, or a battery."""

import contextlib
from pathlib import Path
from typing import Final

from services.monitor.probes.device_probe import Readings

SYSFS: Final = Path("/sys")
_MICRO: Final = 1e-6
# An energy counter may wrap around more than once in a longer gap.
_LONGEST_GAP_S: Final = 60.0


class PowerProbe:
    """Power of the device in watts; none without a source.

    Power monitors come first, since they measure the whole board. RAPL counters see the processor only, and a battery
    only discharges while the device is unplugged.
    """

    def __init__(self, sysfs: Path = SYSFS) -> None:
        """Look for sources.

        Args:
            sysfs: mount point of the kernel's device tree.
        """
        self._rapl = _rapl_packages(sysfs)
        self._hwmon = sysfs / "class" / "hwmon"
        self._batteries = sysfs / "class" / "power_supply"
        self._energy: dict[Path, int] = {}
        self._read_s: float | None = None

    def sample(self, now_s: float) -> Readings:
        """Return `power_w`; none also at the first sample of energy counters."""
        # Every source is read every time: RAPL needs its previous counters even while another source comes first.
        sources_w = (self._from_hwmon(), self._from_rapl(now_s), self._from_battery())
        return {"power_w": next((power_w for power_w in sources_w if power_w is not None), None)}

    def _from_hwmon(self) -> float | None:
        """Return the sum over all chips that monitor power."""
        chips_w = [_chip_w(chip) for chip in sorted(self._hwmon.glob("hwmon*"))]
        known_w = [power_w for power_w in chips_w if power_w is not None]
        return sum(known_w) if known_w else None

    def _from_rapl(self, now_s: float) -> float | None:
        """Return the energy used since the last sample over the time passed."""
        energy = {package: value for package in self._rapl if (value := _number(package / "energy_uj")) is not None}
        before, before_s = self._energy, self._read_s
        self._energy, self._read_s = energy, now_s
        if before_s is None or not energy or not 0 < now_s - before_s <= _LONGEST_GAP_S:
            return None
        used_uj = 0
        for package, value in energy.items():
            used = value - before.get(package, value)
            # A negative difference is a counter that has wrapped around; without a known range it counts as 0.
            used_uj += used if used >= 0 else used + (_number(package / "max_energy_range_uj") or -used)
        return used_uj * _MICRO / (now_s - before_s)

    def _from_battery(self) -> float | None:
        for battery in sorted(self._batteries.glob("*")):
            if _text(battery / "status") != "Discharging":
                continue
            if (power_uw := _number(battery / "power_now")) is not None:
                return power_uw * _MICRO
            current_ua, voltage_uv = _number(battery / "current_now"), _number(battery / "voltage_now")
            if current_ua is not None and voltage_uv is not None:
                return current_ua * voltage_uv * _MICRO * _MICRO
        return None


def _chip_w(chip: Path) -> float | None:
    """Return the power of all channels of a chip: `power*_input` or `_average`, or voltage times current (INA3221)."""
    # Every chip also has a directory `power`, for run-time power management.
    channels = {file.name.partition("_")[0] for file in chip.glob("power[0-9]*_*")}
    if channels:
        # Some chips report both values of a channel, which counts once.
        readings_uw = [
            next(
                (value for kind in ("input", "average") if (value := _number(chip / f"{name}_{kind}")) is not None),
                None,
            )
            for name in sorted(channels)
        ]
        # The chip derives its power registers from the same voltages and currents, so those do not count as well.
        known_uw = [value for value in readings_uw if value is not None]
        return sum(known_uw) * _MICRO if known_uw else None
    products_uw = []
    for current_file in sorted(chip.glob("curr*_input")):
        voltage_file = current_file.with_name(current_file.name.replace("curr", "in"))
        current_ma, voltage_mv = _number(current_file), _number(voltage_file)
        if current_ma is not None and voltage_mv is not None:
            products_uw.append(current_ma * voltage_mv)
    return sum(products_uw) * _MICRO if products_uw else None


def _rapl_packages(sysfs: Path) -> tuple[Path, ...]:
    """Return the counters of the packages, which include their sub-zones (`intel-rapl:0:1`)."""
    zones = sorted((sysfs / "class" / "powercap").glob("*-rapl:*"))
    return tuple(zone for zone in zones if zone.name.count(":") == 1 and _number(zone / "energy_uj") is not None)


def _number(file: Path) -> int | None:
    with contextlib.suppress(ValueError):
        text = _text(file)
        return None if text is None else int(text)
    return None


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None
