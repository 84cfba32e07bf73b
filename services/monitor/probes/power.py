"""What the device draws, where the kernel knows: RAPL energy counters, hwmon and INA power monitors, batteries."""

import contextlib
from pathlib import Path

SYSFS = Path("/sys")
_MICRO = 1e-6
_LONGEST_GAP_S = 60.0


class PowerProbe:
    """Reads whichever source the device has; the first that answers is kept."""

    def __init__(self, sysfs: Path = SYSFS) -> None:
        """Look for sources.

        Args:
            sysfs: where the kernel's view of the devices is mounted.
        """
        self._rapl = _rapl_packages(sysfs)
        self._hwmon = sysfs / "class" / "hwmon"
        self._batteries = sysfs / "class" / "power_supply"
        self._energy: dict[Path, int] = {}
        self._read_s: float | None = None

    def sample(self, now_s: float) -> float | None:
        """Return the power in watts; none if nothing tells, and at the first sample of energy counters.

        Args:
            now_s: monotonic seconds.
        """
        for watts in (self._from_hwmon(), self._from_rapl(now_s), self._from_battery()):
            if watts is not None:
                return watts
        return None

    def _from_hwmon(self) -> float | None:
        """Add up what power monitors report: `power*_input`, or voltage times current as INA3221 gives them."""
        total_w, found = 0.0, False
        for chip in sorted(self._hwmon.glob("hwmon*")):
            for file in sorted([*chip.glob("power*_input"), *chip.glob("power*_average")]):
                if (value := _number(file)) is not None:
                    total_w, found = total_w + value * _MICRO, True
            if any(chip.glob("power*")):
                continue
            for current_file in sorted(chip.glob("curr*_input")):
                voltage_file = current_file.with_name(current_file.name.replace("curr", "in"))
                current_ma, voltage_mv = _number(current_file), _number(voltage_file)
                if current_ma is not None and voltage_mv is not None:
                    total_w, found = total_w + current_ma * voltage_mv * _MICRO, True
        return total_w if found else None

    def _from_rapl(self, now_s: float) -> float | None:
        energy = {package: value for package in self._rapl if (value := _number(package / "energy_uj")) is not None}
        before, before_s = self._energy, self._read_s
        self._energy, self._read_s = energy, now_s
        if before_s is None or not energy or not 0 < now_s - before_s <= _LONGEST_GAP_S:
            return None
        used_uj = 0
        for package, value in energy.items():
            used = value - before.get(package, value)
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


def _rapl_packages(sysfs: Path) -> tuple[Path, ...]:
    """Return the packages' counters: sub-zones (`intel-rapl:0:1`) are contained in them."""
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
