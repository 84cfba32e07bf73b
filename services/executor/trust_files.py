"""The files in which a device keeps the planner's keys that it trusts, and the numbers of their messages."""

import asyncio
import json
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from services.executor.planner_trust import Numbers, PlannerTrust
from shared.exit_status import InputError
from shared.messages.bounds import MAX_INTEGER
from shared.signatures import parse_keys

_LOGGER = logging.getLogger(__name__)

KEYS_FILE: Final = "planner_keys"
_NUMBERS_FILE: Final = "planner_numbers.json"
# Within this time before a crash, the numbers of the planner's messages are not on disk.
_WRITE_S: Final = 0.2
# After this time changes of an operator are followed.
_LOOK_S: Final = 1.0
_HEADING: Final = "# Keys of the planners that this device follows (`segue device trust`)\n"


@dataclass(slots=True)
class TrustFiles:
    """Keeps what a device trusts in two files. An operator may change the keys while the executor runs.

    Attributes:
        folder: state folder of the device.
        trust: what the device trusts.
    """

    folder: Path
    trust: PlannerTrust
    _stamp: int = field(default=0, init=False)

    def load(self) -> None:
        """Read both files. It blocks.

        Raises:
            InputError: the file of the keys cannot be read. Trusting any planner instead would be a surprise.
        """
        self._stamp = self._present_stamp()
        try:
            self.trust.kept = read_keys(self.folder)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.folder / KEYS_FILE}: {error}") from None
        self.trust.numbers = self._read_numbers()

    async def changes(self) -> AsyncIterator[bool]:
        """Synchronise soon after every change, without end; yield whether an operator has changed the keys."""
        look_s = 0.0
        while True:
            if self.trust.is_changed or time.monotonic() >= look_s:
                yield await self.synchronise()
                look_s = time.monotonic() + _LOOK_S
            await asyncio.sleep(_WRITE_S)

    async def synchronise(self) -> bool:
        """Take over keys that an operator has changed, and write what has changed here; return whether keys changed.

        What cannot be written is logged, and written by a later call.
        """
        trust = self.trust
        new_keys = await asyncio.to_thread(self._changed_keys)
        if new_keys is not None:
            trust.keep(new_keys)
            _LOGGER.warning(
                "this device follows %s from now on", " and ".join(new_keys) or "the next planner that it sees"
            )
        if trust.is_changed:
            # Before the write: a number that is taken meanwhile counts as changed again.
            trust.is_changed = False
            try:
                await asyncio.to_thread(self._write, trust.kept, json.dumps(trust.numbers))
            except OSError as error:
                trust.is_changed = True
                _LOGGER.debug("what this device trusts is not on disk yet: %s", error)
        return new_keys is not None

    def _changed_keys(self) -> tuple[str, ...] | None:
        stamp = self._present_stamp()
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            return read_keys(self.folder)
        except (OSError, ValueError) as error:
            _LOGGER.error("%s: %s; the keys before it stay in force", self.folder / KEYS_FILE, error)
            return None

    def _write(self, keys: tuple[str, ...], numbers: str) -> None:
        if keys and not self._stamp:
            write_keys(self.folder, keys)
            self._stamp = self._present_stamp()
        _replace(self.folder / _NUMBERS_FILE, numbers)

    def _present_stamp(self) -> int:
        try:
            return (self.folder / KEYS_FILE).stat().st_mtime_ns
        except OSError:
            return 0

    def _read_numbers(self) -> Numbers:
        path = self.folder / _NUMBERS_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return {
                str(topic): {str(key): _number(each) for key, each in by_key.items()}
                for topic, by_key in document.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError) as error:
            _LOGGER.error("%s cannot be read and counts as empty: %s", path, error)
            return {}


def read_keys(folder: Path) -> tuple[str, ...]:
    """Return the keys in a device's state folder; none if it has no such file.

    Raises:
        OSError: the file cannot be read.
        ValueError: a line is no key.
    """
    try:
        text = (folder / KEYS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return parse_keys(line for line in lines if line)


def write_keys(folder: Path, keys: tuple[str, ...]) -> None:
    """Write the keys into a device's state folder; without a key the device trusts the next one that it sees.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / KEYS_FILE, _HEADING + "".join(f"{key}\n" for key in keys))


def _number(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value <= MAX_INTEGER:
        raise ValueError(f"{value!r} is no number of a message")
    return value


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
