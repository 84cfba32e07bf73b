"""A planner's configuration."""

from pathlib import Path

import pytest

from services.planner.config import PlannerConfig
from shared.bus.settings import BusSettings
from shared.exit_status import InputError


def test_the_library_lies_in_the_data_folder() -> None:
    assert PlannerConfig(BusSettings(), Path("data")).library_dir == Path("data/library")


@pytest.mark.parametrize("fields", [{"name": "no name"}, {"time_budget_s": 0.0}, {"time_budget_s": float("nan")}])
def test_what_cannot_be_right_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        PlannerConfig(BusSettings(), Path("data"), **fields)  # type: ignore[arg-type]
