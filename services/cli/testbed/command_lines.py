"""Command lines and environment of a fleet's processes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.cli.testbed.fleet_description import DeviceDescription, Fleet
from shared.transport_mode import TransportMode

BROKER: Final = "broker"
COLLECTOR: Final = "collector"
PLANNER: Final = "planner"


def environment(address: str) -> Mapping[str, str]:
    """Return the environment of every process: the broker's address with its account, and one thread for OpenMP."""
    # Numerical libraries would start a thread per core in every process, and the executors share this machine.
    return {"SEGUE_BROKER": address, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def broker_arguments(port: int) -> tuple[str, ...]:
    """Return the arguments of `segue` for the embedded broker."""
    return ("broker", "--port", str(port))


def service_arguments(fleet: Fleet, run_dir: Path) -> dict[str, tuple[str, ...]]:
    """Return the arguments of `segue` for every process but the broker, by name, in the order of their start.

    Args:
        fleet: the fleet.
        run_dir: folder of the services' data. Executors share one folder, so that this machine is measured once.
    """
    arguments: dict[str, tuple[str, ...]] = {
        COLLECTOR: ("collector", "--data-dir", str(run_dir / COLLECTOR)),
        PLANNER: ("planner", "--data-dir", str(run_dir / PLANNER)),
    }
    emulated = ("--emulated",) if fleet.emulated else ()
    for name, device in fleet.devices.items():
        executor, monitor = device_processes(name)
        data = ("--data-dir", str(run_dir / "executors"), "--threads", str(device.threads))
        arguments[executor] = ("executor", "--device", name, *data, *_power(device), *emulated)
        if fleet.transport is not TransportMode.MQTT:
            arguments[executor] += ("--transport", fleet.transport.value)
        arguments[monitor] = ("monitor", "--device", name, *data[:2], *emulated, *_metering(fleet, device))
    return arguments


def _metering(fleet: Fleet, device: DeviceDescription) -> tuple[str, ...]:
    if not (fleet.metered or device.metered):
        return ()
    return ("--metered", *(() if device.assumed_mbps is None else ("--assumed-mbps", str(device.assumed_mbps))))


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
