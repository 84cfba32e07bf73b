"""Log of outcomes on their way into the journal, so that they need not wait for its transaction to be published.

A record is appended with one system call, which takes some 20 us on the event loop. A transaction on the journal's
thread takes 0.5 ms in a running executor. Like the journal, the log survives SIGKILL and is not synchronised.

The file is a sequence of records: length and CRC-32 of what follows (each 4 bytes, little endian), then a msgpack map.
"""

import contextlib
import logging
import os
import struct
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgpack

_LOGGER = logging.getLogger(__name__)

_HEAD: Final = struct.Struct("<II")
# Larger outcomes take longer to write than the event loop may wait.
MAX_LOGGED_BYTES: Final = 64 * 1024
_MAX_AT_ONCE_BYTES: Final = 4 * MAX_LOGGED_BYTES
_MAX_LOG_BYTES: Final = 4 * 1024 * 1024
# A disk that makes a write wait for longer is busy, and does so again for a while.
_SLOW_S: Final = 0.01
_PAUSE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """An outcome as the journal will store it.

    Attributes:
        stream: of the request.
        request: the request, packed as in the journal.
        payload: the outcome as published.
        content_type: of the payload.
        at_s: when the request ended, by the journal's clock.
    """

    stream: str
    request: bytes
    payload: bytes
    content_type: str
    at_s: float


class OutcomeLog:
    """The log of one journal. Every call blocks for a moment, and may come from one thread at a time.

    Invariant: the file has whole records only, the first `_size_bytes` of it, or the log takes no more.

    A write goes to the memory of the operating system, and waits for the disk only if too much is waiting there. After
    one that has waited the log pauses, so that a slow disk stops the event loop once in a minute at most.
    """

    def __init__(self, path: Path, *, slow_s: float = _SLOW_S) -> None:
        """Open or make the file; a write that takes longer than `slow_s` is followed by a pause.

        Raises:
            OSError: the disk refuses.
        """
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size_bytes = os.fstat(self._file).st_size
        self._is_usable = True
        self._slow_s = slow_s
        self._pauses_until_s = 0.0

    def read(self) -> list[LoggedOutcome]:
        """Return the records, up to the first that a crash has left incomplete."""
        data = os.pread(self._file, self._size_bytes, 0)
        found = []
        while (record := _record(data)) is not None:
            found.append(record[0])
            data = data[record[1] :]
        return found

    def append(self, outcomes: Sequence[LoggedOutcome]) -> bool:
        """Append records, and return True; or change nothing and return False if they do not fit or the disk refuses.

        After False the outcomes have to be in the journal before they are published.
        """
        records = b"".join(map(_packed, outcomes))
        is_small = len(records) <= _MAX_AT_ONCE_BYTES and self._size_bytes + len(records) <= _MAX_LOG_BYTES
        started_s = time.monotonic()
        if not self._is_usable or not is_small or started_s < self._pauses_until_s:
            return False
        try:
            written = os.write(self._file, records)
        except OSError as error:
            _LOGGER.debug("outcomes wait for the journal: %s", error)
            written = 0
        now_s = time.monotonic()
        if now_s - started_s > self._slow_s:
            self._pauses_until_s = now_s + _PAUSE_S
        if written == len(records):
            self._size_bytes += written
            return True
        if written:
            self._cut(self._size_bytes)
        return False

    def clear(self) -> None:
        """Remove all records: the journal has them."""
        self._cut(0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _cut(self, size_bytes: int) -> None:
        try:
            os.ftruncate(self._file, size_bytes)
            self._size_bytes = size_bytes
        except OSError as error:
            # What would be appended behind a torn record could not be found again.
            _LOGGER.warning("outcomes wait for the journal from now on: %s", error)
            self._is_usable = False


def _packed(outcome: LoggedOutcome) -> bytes:
    body: bytes = msgpack.packb(
        {
            "stream": outcome.stream,
            "request": outcome.request,
            "payload": outcome.payload,
            "content_type": outcome.content_type,
            "at_s": outcome.at_s,
        }
    )
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _record(data: bytes) -> tuple[LoggedOutcome, int] | None:
    """Return the first record and its size; None if there is none, or not the whole of it."""
    if len(data) < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack_from(data)
    body = data[_HEAD.size : _HEAD.size + length]
    if len(body) < length or zlib.crc32(body) != checksum:
        return None
    with contextlib.suppress(ValueError, TypeError, msgpack.exceptions.UnpackException):
        outcome = LoggedOutcome(**msgpack.unpackb(body))
        types = (outcome.stream, str), (outcome.request, bytes), (outcome.payload, bytes), (outcome.content_type, str)
        if all(isinstance(value, expected) for value, expected in (*types, (outcome.at_s, float))):
            return outcome, _HEAD.size + length
    return None
