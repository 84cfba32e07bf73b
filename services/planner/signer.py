"""The planner's key and the numbers of its signatures, kept in its data folder."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from shared.data_directory import move_aside
from shared.messages.bounds import MAX_INTEGER
from shared.secret_files import write_secret
from shared.signatures import SIGNATURE_PROPERTY, SignatureError, SigningKey, verified

_LOGGER = logging.getLogger(__name__)

_FILE: Final = "signing_key.json"
# Numbers that are reserved by one write to the disk. They follow the clock in milliseconds, so this is 70 minutes.
_RESERVED: Final = 2**22


@dataclass(slots=True)
class Signer:
    """Signs messages under numbers that grow across restarts, whatever the clock does.

    A number is that of the clock in milliseconds, or one more than the number before, whichever is greater. Numbers are
    reserved on disk before they are used, so that none is used twice when the clock has gone back. Those of a
    clock make a planner whose folder comes from an old backup go on where the lost one was.

    Attributes:
        key: the private key.
        root: prefix of every topic.
    """

    key: SigningKey
    root: str
    _path: Path
    _last: int
    _reserved: int = field(default=0)

    @classmethod
    def open(cls, folder: Path, root: str, given: str | None = None) -> Self:
        """Read the key in a planner's data folder, or make one. It blocks.

        Args:
            folder: data folder of the planner.
            root: prefix of every topic.
            given: private key of the fleet's planner, in hexadecimal: it replaces that of the folder.

        Raises:
            OSError: the folder cannot be read or written.
        """
        path = folder / _FILE
        first = SigningKey.generate() if given is None else SigningKey(bytes.fromhex(given))
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            signer = cls(SigningKey(bytes.fromhex(document["private"])), root, path, int(document["reserved"]))
            if given is not None and signer.public_key != first.public:
                _LOGGER.warning("the planner signs with the key of its account, and no longer with that of %s", path)
                signer.key = first
        except FileNotFoundError:
            signer = cls(first, root, path, 0)
        except (ValueError, KeyError, TypeError) as error:
            aside = move_aside(path)
            _LOGGER.error(
                "%s is damaged (%s); it is kept as %s. %s",
                path,
                error,
                aside.name,
                "The planner has a new key, which devices must be told of" if given is None else "The key is given",
            )
            signer = cls(first, root, path, 0)
        signer._reserve()
        return signer

    @property
    def public_key(self) -> str:
        """The public key in hexadecimal."""
        return self.key.public

    def properties(self, topic: str, payload: bytes) -> Mapping[str, str]:
        """Return the user properties with the signature of a message.

        Args:
            topic: below the root.
            payload: the message's bytes.
        """
        self._last = max(self._last + 1, _clock_ms())
        if self._last > self._reserved:
            try:
                self._reserve()
            except OSError as error:
                # The numbers still follow the clock.
                _LOGGER.warning("the planner cannot write %s: %s", self._path, error)
        return {SIGNATURE_PROPERTY: self.key.sign(f"{self.root}/{topic}", payload, self._last)}

    def is_own(self, user: Mapping[str, str], topic: str, payload: bytes) -> bool:
        """Return whether this key has signed a message. Numbers go on after those of own messages.

        Args:
            user: the message's user properties.
            topic: below the root.
            payload: the message's bytes.
        """
        try:
            signature = verified(user, f"{self.root}/{topic}", payload)
        except SignatureError:
            return False
        if signature is None or signature.key != self.public_key:
            return False
        self._last = max(self._last, signature.number)
        return True

    def _reserve(self) -> None:
        self._reserved = min(max(self._last, _clock_ms()) + _RESERVED, MAX_INTEGER)
        text = json.dumps({"private": self.key.private.hex(), "reserved": self._reserved})
        write_secret(self._path, text)


def _clock_ms() -> int:
    return int(1000 * time.time())
