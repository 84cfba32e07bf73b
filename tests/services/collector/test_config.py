"""A collector's configuration says what is wrong with it."""

from pathlib import Path

import pytest

from services.collector.config import CollectorConfig
from shared.bus.settings import BusSettings
from shared.service_runtime import InputError


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"name": "a b"}, "no service name"), ({"metrics_port": 70_000}, "0..65535"), ({"batch_s": 5.0}, "batch")],
)
def test_nonsense_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(InputError, match=text):
        CollectorConfig(BusSettings(), Path("data"), **changes)


def test_the_database_lies_in_the_data_folder() -> None:
    assert CollectorConfig(BusSettings(), Path("data")).database == Path("data/collector.sqlite")
