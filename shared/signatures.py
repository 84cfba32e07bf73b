"""Signatures of the planner's messages: proof that the holder of a key has published these bytes on this topic.

A signature travels in a user property beside the payload, so that the messages themselves do not change. The signed
text covers the whole topic with its root, a number that grows with every message of the key, and the payload. So a
signed message cannot be replayed on another topic or in another fleet, nor after a later one. Signatures are those of
Ed25519 (RFC 8032).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.messages.base import MessageError
from shared.messages.bounds import KEY_PATTERN, MAX_INTEGER

SIGNATURE_PROPERTY: Final = "signature"
KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_VERSION: Final = "1"
# Digits of the largest number. Longer ones are refused unread.
_MAX_DIGITS: Final = len(str(MAX_INTEGER))
_KNOWN_KEYS: Final = 64


class SignatureError(MessageError):
    """A signature is malformed, or does not belong to its message."""


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that was verified.

    Attributes:
        key: public key in hexadecimal.
        number: of the message; later messages of the key have greater ones.
    """

    key: str
    number: int


class SigningKey:
    """A private key."""

    def __init__(self, private: bytes) -> None:
        """Take over the 32 bytes of a key.

        Raises:
            ValueError: it has another size.
        """
        self._private = Ed25519PrivateKey.from_private_bytes(private)

    @classmethod
    def generate(cls) -> Self:
        """Return a new key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def private(self) -> bytes:
        """The 32 bytes of the key."""
        return self._private.private_bytes_raw()

    @property
    def public(self) -> str:
        """The public key in hexadecimal."""
        return self._private.public_key().public_bytes_raw().hex()

    def sign(self, topic: str, payload: bytes, number: int) -> str:
        """Return the value of the user property for a message.

        Args:
            topic: with root.
            payload: the message's bytes.
            number: greater than that of every earlier message.
        """
        signature = self._private.sign(_signed_text(topic, payload, number))
        return f"{_VERSION}:{self.public}:{number}:{signature.hex()}"


def verified(user: Mapping[str, str], topic: str, payload: bytes) -> Signature | None:
    """Return the signature of a message, verified; None if it has none.

    Args:
        user: the message's user properties.
        topic: with root.
        payload: the message's bytes.

    Raises:
        SignatureError: the property is malformed, or the signature is not that of this message.
    """
    text = user.get(SIGNATURE_PROPERTY)
    if text is None:
        return None
    version, key, number, signature = (*text.split(":", 3), "", "", "")[:4]
    well_formed = is_key(key) and number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    if version != _VERSION or not well_formed or len(signature) != 2 * _SIGNATURE_BYTES:
        raise SignatureError("its signature is malformed")
    try:
        _public_key(key).verify(bytes.fromhex(signature), _signed_text(topic, payload, int(number)))
    except (InvalidSignature, ValueError):
        raise SignatureError("its signature does not belong to it") from None
    return Signature(key, int(number))


def is_key(text: str) -> bool:
    """Return whether a text is a public key in hexadecimal."""
    return KEY_PATTERN.fullmatch(text) is not None


def parse_keys(texts: Iterable[str]) -> tuple[str, ...]:
    """Return public keys, each once.

    Raises:
        ValueError: a text is no public key.
    """
    keys = dict.fromkeys(texts)
    for key in keys:
        if not is_key(key):
            raise ValueError(f"{key[:80]!r} is no key of a planner: 64 digits and letters a to f, as its log shows it")
    return tuple(keys)


@lru_cache(_KNOWN_KEYS)
def _public_key(key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes.fromhex(key))


def _signed_text(topic: str, payload: bytes, number: int) -> bytes:
    # No topic has a null character (MQTT 5.0, 4.7.3), so that no two messages have the same text.
    return b"\0".join((b"segue signature 1", topic.encode(), str(number).encode(), payload))
