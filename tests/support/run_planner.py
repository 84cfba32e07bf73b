"""Run a planner in this process: `run_planner.py BROKER DATA_DIR [CONNECT_TIMEOUT_S]`."""

import functools
import sys
from pathlib import Path

from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus.settings import BusSettings
from shared.service_runtime import run_service

if __name__ == "__main__":
    address, folder, *timeout_s = sys.argv[1:]
    config = PlannerConfig(
        BusSettings.from_address(address), Path(folder), connect_timeout_s=float(timeout_s[0]) if timeout_s else 10.0
    )
    sys.exit(run_service(functools.partial(serve, config)))
