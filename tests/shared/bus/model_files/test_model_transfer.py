"""The receiver of a model: windows, stalls, damage, resuming, and the SHA-256 at the end."""

import hashlib
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.model_files.model_transfer import (
    Arrived,
    DiscardRanges,
    Finish,
    GiveUp,
    ModelDownload,
    SendPull,
    Started,
    TransferCommand,
    TransferPhase,
    TransferTicked,
    Verified,
    VerifyFile,
    WriteChunk,
    chunk_for,
    refusal_for,
)
from shared.bus.model_files.pieces import ByteRange
from shared.messages.models import ModelChunk, Pull


class Peer:
    """A provider and a disk in memory, driven by the receiver's commands."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.disk = bytearray(len(data))
        self.pulls: list[Pull] = []
        self.verifying = False

    def perform(self, commands: list[TransferCommand]) -> None:
        for command in commands:
            match command:
                case SendPull(pull):
                    self.pulls.append(pull)
                case WriteChunk(offset, data):
                    self.disk[offset : offset + len(data)] = data
                case DiscardRanges(ranges):
                    for piece in ranges:
                        self.disk[piece.start : piece.stop] = bytes(piece.stop - piece.start)
                case VerifyFile():
                    self.verifying = True

    def answer(self, pull: Pull) -> ModelChunk:
        return chunk_for(pull, self.data[pull.offset : pull.offset + pull.length])


def download_of(data: bytes, **options: object) -> ModelDownload:
    options = {"wanted": (ByteRange(0, len(data)),), "pull_bytes": 100} | options
    return ModelDownload(hashlib.sha256(data).hexdigest(), "jetson", **options)  # type: ignore[arg-type]


@given(st.integers(1, 2000), st.integers(1, 6), st.randoms(use_true_random=False))
def test_any_order_of_chunks_gives_the_file(size_bytes: int, window: int, shuffle: random.Random) -> None:
    data = shuffle.randbytes(size_bytes)
    peer, download = Peer(data), download_of(data, window=window)
    peer.perform(download.handle(Started(), 0.0))
    while peer.pulls:
        assert len(peer.pulls) <= window
        pull = peer.pulls.pop(shuffle.randrange(len(peer.pulls)))
        peer.perform(download.handle(Arrived(peer.answer(pull)), 0.0))
    assert peer.verifying
    assert bytes(peer.disk) == data
    assert download.received_bytes == size_bytes
    assert download.handle(Verified(), 0.0) == [Finish()]
    assert download.phase is TransferPhase.DONE


def test_it_asks_only_for_what_an_earlier_attempt_left() -> None:
    data = bytes(range(200)) * 5
    download = download_of(data, received=(ByteRange(0, 350), ByteRange(600, 2000)))
    pulls = [command.pull for command in download.handle(Started(), 0.0) if isinstance(command, SendPull)]
    assert [(pull.offset, pull.length) for pull in pulls] == [(350, 100), (450, 100), (550, 50)]
    assert download.received_bytes == 750


def test_a_complete_partial_file_is_verified_at_once() -> None:
    assert download_of(b"x" * 10, received=(ByteRange(0, 10),)).handle(Started(), 0.0) == [VerifyFile()]
    assert download_of(b"").handle(Started(), 0.0) == [VerifyFile()]


@pytest.mark.parametrize("damage", ["crc", "short", "long"])
def test_a_damaged_chunk_is_asked_for_again(damage: str) -> None:
    data = b"abc" * 50
    peer, download = Peer(data), download_of(data)
    peer.perform(download.handle(Started(), 0.0))
    pull = peer.pulls[0]
    good = peer.answer(pull)
    bad = {
        "crc": good.model_copy(update={"data": b"\0" + good.data[1:]}),
        "short": ModelChunk(model=good.model, offset=0, crc32=zlib.crc32(b"ab"), data=b"ab"),
        "long": ModelChunk(model=good.model, offset=0, crc32=zlib.crc32(data), data=data),
    }[damage]
    assert download.handle(Arrived(bad), 0.0) == [SendPull(pull)]
    assert download.received_bytes == 0
    assert WriteChunk(0, good.data) in download.handle(Arrived(good), 0.0)


def test_damage_without_end_is_given_up() -> None:
    data = b"abc" * 50
    peer, download = Peer(data), download_of(data, attempt_limit=3)
    peer.perform(download.handle(Started(), 0.0))
    bad = peer.answer(peer.pulls[0]).model_copy(update={"crc32": 1})
    outcomes = [download.handle(Arrived(bad), 0.0) for _ in range(3)]
    assert isinstance(outcomes[-1][0], GiveUp)
    assert "damaged" in outcomes[-1][0].reason
    assert download.handle(Arrived(bad), 0.0) == []
    assert download.phase is TransferPhase.FAILED


def test_a_stall_repeats_the_outstanding_pulls_and_then_gives_up() -> None:
    data = bytes(1000)
    download = download_of(data, stall_s=10.0, attempt_limit=3)
    first = download.handle(Started(), 0.0)
    assert download.handle(TransferTicked(), 9.9) == []
    assert download.handle(TransferTicked(), 10.0) == first
    assert download.due_at_s == 20.0
    assert download.handle(TransferTicked(), 20.0) == first
    assert download.handle(TransferTicked(), 30.0) == [GiveUp("the provider has not answered for 30 s")]


def test_progress_forgives_earlier_stalls() -> None:
    data = bytes(1000)
    peer, download = Peer(data), download_of(data, stall_s=10.0, attempt_limit=2)
    peer.perform(download.handle(Started(), 0.0))
    download.handle(TransferTicked(), 10.0)
    download.handle(Arrived(peer.answer(peer.pulls[0])), 11.0)
    assert all(isinstance(command, SendPull) for command in download.handle(TransferTicked(), 21.0))
    assert download.phase is TransferPhase.PULLING


def test_a_wrong_whole_is_fetched_afresh_once() -> None:
    data = bytes(150)
    peer, download = Peer(data), download_of(data, received=(ByteRange(0, 150),))
    assert download.handle(Started(), 0.0) == [VerifyFile()]
    again = download.handle(Verified((ByteRange(0, 150),)), 0.0)
    assert again[0] == DiscardRanges((ByteRange(0, 150),))
    assert [type(command) for command in again[1:]] == [SendPull, SendPull]
    peer.perform(again)
    for pull in peer.pulls:
        download.handle(Arrived(peer.answer(pull)), 0.0)
    (failed,) = download.handle(Verified((ByteRange(0, 150),)), 0.0)
    assert isinstance(failed, GiveUp)
    assert "SHA-256" in failed.reason


def test_a_refusal_ends_it_with_the_providers_reason() -> None:
    download = download_of(b"abc")
    (pulled,) = download.handle(Started(), 0.0)
    assert isinstance(pulled, SendPull)
    assert download.handle(Arrived(refusal_for(pulled.pull, "no such model")), 0.0) == [GiveUp("no such model")]


def test_foreign_and_repeated_chunks_change_nothing() -> None:
    data = bytes(50)
    peer, download = Peer(data), download_of(data)
    peer.perform(download.handle(Started(), 0.0))
    chunk = peer.answer(peer.pulls[0])
    assert download.handle(Arrived(chunk.model_copy(update={"model": "f" * 64})), 0.0) == []
    assert download.handle(Arrived(chunk.model_copy(update={"offset": 7})), 0.0) == []
    assert download.handle(Arrived(chunk), 0.0)[-1] == VerifyFile()
    assert download.handle(Arrived(chunk), 0.0) == []


def test_a_verdict_nobody_asked_for_is_a_fault() -> None:
    with pytest.raises(ValueError, match="nothing is being verified"):
        download_of(b"abc").handle(Verified(), 0.0)


def test_past_the_end_there_is_nothing_to_serve() -> None:
    pull = Pull(model="a" * 64, receiver="pi", offset=9, length=1)
    assert "no byte 9" in chunk_for(pull, b"").error


def test_only_wanted_pieces_are_pulled_and_only_damaged_ones_again() -> None:
    data = random.Random(4).randbytes(1000)
    wanted = (ByteRange(100, 200), ByteRange(500, 700))
    peer, download = Peer(data), download_of(data, wanted=wanted, received=(ByteRange(0, 150), ByteRange(900, 1000)))
    peer.perform(download.handle(Started(), 0.0))
    assert [(pull.offset, pull.length) for pull in peer.pulls] == [(150, 50), (500, 100), (600, 100)]
    for pull in peer.pulls:
        peer.perform(download.handle(Arrived(peer.answer(pull)), 0.0))
    assert (download.received_bytes, download.wanted_bytes, peer.verifying) == (300, 300, True)
    again = download.handle(Verified((ByteRange(100, 200),)), 0.0)
    assert again[0] == DiscardRanges((ByteRange(100, 200),))
    assert [command.pull.offset for command in again if isinstance(command, SendPull)] == [100]
