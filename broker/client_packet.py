"""Fields of MQTT 5 packets (section 1.5) and their properties (section 2.2.2), read with every bound checked."""

from collections.abc import Collection, Mapping
from typing import Final

_BYTE: Final = 1
_TWO_BYTES: Final = 2
_FOUR_BYTES: Final = 4
_VARIABLE: Final = -1
_TEXT: Final = -2
_BINARY: Final = -3
_TEXT_PAIR: Final = -4

# Identifier of every property with the form of its value (MQTT 5.0, table 2-4).
_PROPERTY_FORMS: Final[Mapping[int, int]] = {
    0x01: _BYTE,
    0x02: _FOUR_BYTES,
    0x03: _TEXT,
    0x08: _TEXT,
    0x09: _BINARY,
    0x0B: _VARIABLE,
    0x11: _FOUR_BYTES,
    0x12: _TEXT,
    0x13: _TWO_BYTES,
    0x15: _TEXT,
    0x16: _BINARY,
    0x17: _BYTE,
    0x18: _FOUR_BYTES,
    0x19: _BYTE,
    0x1A: _TEXT,
    0x1C: _TEXT,
    0x1F: _TEXT,
    0x21: _TWO_BYTES,
    0x22: _TWO_BYTES,
    0x23: _TWO_BYTES,
    0x24: _BYTE,
    0x25: _BYTE,
    0x26: _TEXT_PAIR,
    0x27: _FOUR_BYTES,
    0x28: _BYTE,
    0x29: _BYTE,
    0x2A: _BYTE,
}
USER_PROPERTY: Final = 0x26
_LONGEST_VARIABLE: Final = 4


class Malformed(ValueError):
    """A packet is not well-formed. The text says what is wrong with it."""


class Incomplete(Exception):
    """The bytes end before the field does.

    Attributes:
        position: up to which bytes are needed.
    """

    def __init__(self, position: int) -> None:
        self.position = position
        super().__init__()


class ClientPacket:
    """Reads the fields of a packet one after the other.

    Attributes:
        position: of the next byte.
    """

    __slots__ = ("_data", "_end", "position")

    def __init__(self, data: bytes | bytearray | memoryview, position: int, end: int) -> None:
        """Read `data` from `position` on; `end` is the end of the packet, and may lie beyond the data."""
        self._data = data
        self._end = end
        self.position = position

    @property
    def left(self) -> int:
        """Number of bytes of the packet that are not read yet."""
        return self._end - self.position

    def number(self, size_bytes: int) -> int:
        """Return a big-endian integer.

        Raises:
            Malformed: it goes beyond the packet.
            Incomplete: it goes beyond the data.
        """
        return int.from_bytes(self._taken(size_bytes), "big")

    def variable(self) -> int:
        """Return a variable byte integer.

        Raises:
            Malformed: it has more than four bytes, or goes beyond the packet.
            Incomplete: it goes beyond the data.
        """
        value = 0
        for place in range(_LONGEST_VARIABLE):
            byte = self._taken(1)[0]
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                return value
        raise Malformed("a length of more than four bytes")

    def binary(self) -> bytes:
        """Return binary data with its length in front.

        Raises:
            Malformed: it goes beyond the packet.
            Incomplete: it goes beyond the data.
        """
        return self._taken(self.number(2))

    def text(self) -> str:
        """Return a UTF-8 string.

        Raises:
            Malformed: it is no UTF-8, has a null character, or goes beyond the packet.
            Incomplete: it goes beyond the data.
        """
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise Malformed("text that is not UTF-8") from None
        if "\0" in text:
            raise Malformed("a null character in a text")
        return text

    def properties(self, allowed: Collection[int]) -> dict[int, int | str | bytes]:
        """Return the properties; user properties are checked and left out.

        Args:
            allowed: identifiers that the packet may have.

        Raises:
            Malformed: an identifier is unknown, not allowed or repeated, or a value is malformed.
            Incomplete: they go beyond the data.
        """
        length = self.variable()
        if length > self.left:
            raise Malformed("properties that are longer than the packet")
        end = self.position + length
        if end > len(self._data):
            # Asked for as a whole: a sender of single bytes would have them read again for each.
            raise Incomplete(end)
        found: dict[int, int | str | bytes] = {}
        while self.position < end:
            identifier = self.variable()
            if identifier not in allowed:
                raise Malformed(f"a property {identifier} that this packet cannot have")
            if identifier in found:
                raise Malformed(f"property {identifier} twice")
            value = self._property_value(_PROPERTY_FORMS[identifier])
            if identifier != USER_PROPERTY:
                found[identifier] = value
        if self.position != end:
            raise Malformed("properties of another length than stated")
        return found

    def _property_value(self, form: int) -> int | str | bytes:
        if form > 0:
            return self.number(form)
        if form == _VARIABLE:
            return self.variable()
        if form == _BINARY:
            return self.binary()
        if form == _TEXT_PAIR:
            self.text()
        return self.text()

    def _taken(self, size_bytes: int) -> bytes:
        start, stop = self.position, self.position + size_bytes
        if stop > self._end:
            raise Malformed("a field that goes beyond its packet")
        if stop > len(self._data):
            raise Incomplete(stop)
        self.position = stop
        return bytes(self._data[start:stop])
