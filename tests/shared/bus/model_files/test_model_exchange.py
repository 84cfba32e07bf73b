"""Model files travel between a library and its receivers through a real broker."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.mosquitto import MosquittoBroker
from broker.process import BrokerProcess
from shared.bus import topics
from shared.bus.connection import Connection
from shared.bus.model_files.model_exchange import fetch_model, serve_models
from shared.bus.model_files.model_transfer import PULL_BYTES, ModelTransferError
from shared.messages.models import Manifest, ManifestBlock
from tests.shared.bus.conftest import BrokerKind, broker_parameters

DATA = random.Random(3).randbytes(3 * PULL_BYTES + 5)
MODEL = hashlib.sha256(DATA).hexdigest()
MANIFEST = Manifest(
    model=MODEL,
    name="net",
    size_bytes=len(DATA),
    inputs=(),
    outputs=(),
    blocks=(ManifestBlock(name="b", output_bytes=1),),
    provider="library",
)


@asynccontextmanager
async def library(broker: BrokerProcess, locate: Callable[[str], Path | None]) -> AsyncIterator[Connection]:
    async with Connection.open(broker.settings) as connection:
        serving = asyncio.create_task(serve_models(connection, "library", locate))
        try:
            yield connection
        finally:
            serving.cancel()
            await asyncio.wait([serving])


async def test_a_model_is_fetched_verified_and_not_fetched_again(embedded: BrokerProcess, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(DATA)
    target, progress = tmp_path / "cache" / "net.onnx", []
    async with (
        asyncio.timeout(30),
        library(embedded, lambda model: tmp_path / "net.onnx" if model == MODEL else None),
        Connection.open(embedded.settings) as stranger,
    ):
        await stranger.publish(topics.pulls(MODEL, "library"), b"no pull")
        for _ in range(2):
            fetched = await fetch_model(
                embedded.settings,
                MANIFEST,
                receiver="pi",
                path=target,
                on_progress=lambda received, size: progress.append((received, size)),
            )
            assert fetched == target
    assert target.read_bytes() == DATA
    assert len(progress) == 4
    assert progress[-1] == (len(DATA), len(DATA))
    assert list(target.parent.iterdir()) == [target]


async def test_a_model_that_the_library_lacks_is_refused(embedded: BrokerProcess, tmp_path: Path) -> None:
    async with asyncio.timeout(30), library(embedded, lambda _: None):
        with pytest.raises(ModelTransferError, match=r"fetch model net from library: .*does not have this model"):
            await fetch_model(embedded.settings, MANIFEST, receiver="pi", path=tmp_path / "net.onnx")


async def test_a_file_of_the_library_that_cannot_be_read_is_refused(embedded: BrokerProcess, tmp_path: Path) -> None:
    async with asyncio.timeout(30), library(embedded, lambda _: tmp_path / "gone.onnx"):
        with pytest.raises(ModelTransferError, match="cannot read the model"):
            await fetch_model(embedded.settings, MANIFEST, receiver="pi", path=tmp_path / "net.onnx")


async def test_a_file_with_other_bytes_is_refused(embedded: BrokerProcess, tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(DATA[::-1])
    async with asyncio.timeout(30), library(embedded, lambda _: tmp_path / "other.onnx"):
        with pytest.raises(ModelTransferError, match="SHA-256, twice"):
            await fetch_model(embedded.settings, MANIFEST, receiver="pi", path=tmp_path / "net.onnx")


async def test_a_silent_provider_is_given_up(embedded: BrokerProcess, tmp_path: Path) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(ModelTransferError, match="has not answered"):
            await fetch_model(embedded.settings, MANIFEST, receiver="pi", path=tmp_path / "net.onnx", stall_s=0.05)


async def test_a_folder_that_cannot_be_written_is_reported(embedded: BrokerProcess, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelTransferError, match="cannot store model net"):
        await fetch_model(embedded.settings, MANIFEST, receiver="pi", path=tmp_path / "file" / "net.onnx")


@pytest.mark.parametrize("kind", broker_parameters(BrokerKind.MOSQUITTO))
async def test_a_model_passes_a_broker_with_small_packets(kind: BrokerKind, tmp_path: Path) -> None:
    assert kind.is_mosquitto
    (tmp_path / "net.onnx").write_bytes(DATA)
    async with (
        asyncio.timeout(60),
        MosquittoBroker(max_packet_bytes=50_000) as broker,
        library(broker, lambda _: tmp_path / "net.onnx"),
    ):
        fetched = await fetch_model(broker.settings, MANIFEST, receiver="pi", path=tmp_path / "copy.onnx")
        assert fetched.read_bytes() == DATA


async def test_malformed_pulls_are_logged_once_and_others_answered(
    embedded: BrokerProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model").write_bytes(DATA)
    async with library(embedded, lambda _: tmp_path / "model") as connection:
        for _ in range(20):
            await connection.publish(topics.pulls(MODEL, "library"), b"garbage")
        fetched = await fetch_model(embedded.settings, MANIFEST, receiver="pi", path=tmp_path / "fetched")
    assert fetched.read_bytes() == DATA
    assert caplog.text.count("malformed pull") == 1
