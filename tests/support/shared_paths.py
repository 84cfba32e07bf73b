"""Paths of files that several tests read."""

from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
INSTANCES = REPOSITORY / "tests" / "instances"
GOLDEN = REPOSITORY / "tests" / "golden"
DEMO_DATA = REPOSITORY / "services" / "cli" / "data"
RUN_PLANNER = REPOSITORY / "tests" / "support" / "run_planner.py"
