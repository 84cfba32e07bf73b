"""The command lines of a fleet's processes. Pure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.cli.testbed.fleet_file import DeviceDescription, Fleet

BROKER: Final = "broker"
COLLECTOR: Final = "collector"
PLANNER: Final = "planner"


def environment(address: str) -> Mapping[str, str]:
    """Return what every process finds in its environment: the broker, its account included, and no threads of its own.

    Several executors share this machine: none may take all cores behind the others' backs.
    """
    return {"SEGUE_BROKER": address, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def broker(port: int) -> tuple[str, ...]:
    """Return the arguments for `segue` of the embedded broker."""
    return ("broker", "--port", str(port))


def services(fleet: Fleet, run_dir: Path) -> dict[str, tuple[str, ...]]:
    """Return the arguments for `segue` of every process but the broker, by name, in the order of their start.

    Args:
        fleet: the fleet.
        run_dir: where the services keep their data. Devices share a folder, so that this machine is measured once.
    """
    found: dict[str, tuple[str, ...]] = {
        COLLECTOR: ("collector", "--data-dir", str(run_dir / COLLECTOR)),
        PLANNER: ("planner", "--data-dir", str(run_dir / PLANNER)),
    }
    pretends = ("--emulated",) if fleet.emulated else ()
    for name, device in fleet.devices.items():
        executor, monitor = device_processes(name)
        data = ("--data-dir", str(run_dir / "executors"), "--threads", str(device.threads))
        found[executor] = ("executor", "--device", name, *data, *_power(device), *pretends)
        found[monitor] = ("monitor", "--device", name, *pretends)
    return found


def _power(device: DeviceDescription) -> tuple[str, ...]:
    watts = {
        "--power-idle-w": device.power_idle_w,
        "--power-active-w": device.power_active_w,
        "--power-tx-w": device.power_tx_w,
        "--power-rx-w": device.power_rx_w,
    }
    return tuple(word for option, value in watts.items() if value for word in (option, str(value)))


def device_processes(device: str) -> tuple[str, str]:
    """Return the names of a device's executor process and monitor process."""
    return f"executor-{device}", f"monitor-{device}"
