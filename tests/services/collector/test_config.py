"""Invalid configurations of a collector are refused with their reason."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.collector.config import CollectorConfig
from shared.bus.settings import BusSettings
from shared.exit_status import InputError


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: CollectorConfig(BusSettings(), Path("data"), name="a b"), "no service name"),
        (lambda: CollectorConfig(BusSettings(), Path("data"), metrics_port=70_000), "0..65535"),
        (lambda: CollectorConfig(BusSettings(), Path("data"), batch_s=5.0), "batch"),
    ],
)
def test_nonsense_is_refused(make: Callable[[], CollectorConfig], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make()


def test_the_database_lies_in_the_data_folder() -> None:
    assert CollectorConfig(BusSettings(), Path("data")).database == Path("data/collector.sqlite")
