from pathlib import Path

import pytest

from services.executor.config import ExecutorConfig, Watch
from services.executor.device_resources import DeviceResources
from services.executor.segments.engine import RUNTIME_VERSION, EngineSettings
from shared.bus.settings import BusSettings
from shared.exit_status import InputError


def test_a_watch_is_a_stream_and_a_directory() -> None:
    assert Watch.parse("camera=/some/dir=odd") == Watch("camera", Path("/some/dir=odd"))


@pytest.mark.parametrize("text", ["camera", "=dir", "camera=", "bad name=dir"])
def test_a_watch_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="STREAM=DIRECTORY"):
        Watch.parse(text)


def test_names_and_threads_are_checked() -> None:
    with pytest.raises(InputError, match="device name"):
        ExecutorConfig("no/name", BusSettings())
    with pytest.raises(InputError, match="threads"):
        ExecutorConfig("d", BusSettings(), engine=EngineSettings(threads=0))


def test_where_things_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ExecutorConfig("d", BusSettings(), data_dir=tmp_path)
    assert config.journal_path == tmp_path / "devices" / "d" / "journal.sqlite"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert ExecutorConfig("d", BusSettings()).data_dir.is_relative_to(tmp_path)


def test_capabilities_tell_the_resources_and_the_engine() -> None:
    resources = DeviceResources(cores=2, cpu_limit=0.5, segment_memory_bytes=5)
    told = ExecutorConfig("d", BusSettings()).capabilities(resources)
    assert (told.cores, told.cpu_limit, told.memory_bytes) == (2, 0.5, 5)
    assert told.runtime == f"onnxruntime {RUNTIME_VERSION}"
    assert told.provider in told.providers
    assert told.opset >= 17
