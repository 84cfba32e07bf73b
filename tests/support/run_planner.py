"""Run a planner in this process: `run_planner.py BROKER DATA_DIR`."""

import functools
import sys
from pathlib import Path

from services.planner.config import PlannerConfig
from services.planner.service import serve
from shared.bus.settings import BusSettings
from shared.service import run

if __name__ == "__main__":
    address, folder = sys.argv[1:]
    sys.exit(run(functools.partial(serve, PlannerConfig(BusSettings.from_address(address), Path(folder)))))
