"""Tables of the lane: what the messages of a stage and epoch have in common, at their sender and at their receiver."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from numpy.typing import NDArray

from shared.bus.errors import DecodeError
from shared.codecs import RAW
from shared.codecs.spec import dtype_name
from shared.lane.input_assembly import InputLayout
from shared.lane.lane_messages import TableMessage, encode_table
from shared.messages.base import MessageError
from shared.messages.requests import FeatureMapHeader, TensorHeader
from shared.transport_mode import Carrier

MAX_SENT: Final = 1024
MAX_RECEIVED: Final = 512
_MAX_RECEIVED_BYTES: Final = 4 * 1024 * 1024
# A receiver may lack a table: it was restarted, had no room for it, or the broker has dropped it. A table is repeated
# after this time of use, so that nothing has to be asked or answered.
REPEAT_S: Final = 2.0

# Name, type and shape of each tensor.
Tensors = tuple[tuple[str, str, tuple[int, ...]], ...]


def tensors_of(arrays: Mapping[str, NDArray[Any]]) -> Tensors:
    """Return the description of the tensors of an input."""
    return tuple((name, dtype_name(array.dtype), array.shape) for name, array in arrays.items())


@dataclass(slots=True)
class SentTable:
    """A table of this device.

    Attributes:
        number: its number.
        message: the bytes of the message.
        header: what it was made from. Held so that the identities of its stages stay their own.
        sent_at_s: when it was sent last, by receiver's boot and carrier.
    """

    number: int
    message: bytes
    header: FeatureMapHeader
    sent_at_s: dict[tuple[str, Carrier], float] = field(default_factory=dict)

    def is_due(self, boot_id: str, carrier: Carrier, now_s: float) -> bool:
        """Return whether the table has to go before the next rows."""
        return now_s - self.sent_at_s.get((boot_id, carrier), float("-inf")) >= REPEAT_S

    def sent(self, boot_id: str, carrier: Carrier, now_s: float) -> None:
        """Note that the table went to a run of the receiver."""
        self.sent_at_s = {(boot_id, carrier): now_s}


class SentTables:
    """Tables of this device by what they state, the last `MAX_SENT` in use."""

    def __init__(self, device: str, first_number: int) -> None:
        """Begin without tables. A random first number keeps those of an earlier run of the device apart."""
        self._device = device
        self._number = first_number
        self._tables: OrderedDict[tuple[Any, ...], SentTable] = OrderedDict()

    def table(self, header: FeatureMapHeader, tensors: Tensors) -> SentTable:
        """Return the table for a stage's input, a new one if there is none.

        Args:
            header: of any request of the stream and epoch; `stage` is the stage whose input it is.
            tensors: of the input.

        Raises:
            ValueError: the route is too long for a table.
        """
        # The stages are the same objects for all requests of an epoch; comparing them would take longer than sending.
        key = (header.stream, header.epoch, header.stage, header.tile, tuple(map(id, header.stages)), tensors)
        known = self._tables.get(key)
        if known is not None:
            self._tables.move_to_end(key)
            return known
        self._number = self._number % (2**32 - 1) + 1
        made = SentTable(self._number, encode_table(self._number, self._document(header, tensors)), header)
        self._tables[key] = made
        if len(self._tables) > MAX_SENT:
            self._tables.popitem(last=False)
        return made

    def forget(self, device: str) -> None:
        """Send the tables for a device again before further rows: what was on a connection to it may be lost."""
        for table in self._tables.values():
            if table.header.target == device:
                table.sent_at_s.clear()

    def _document(self, header: FeatureMapHeader, tensors: Tensors) -> bytes:
        described = tuple(
            TensorHeader(name=name, dtype=dtype, shape=shape, codec=RAW, size_bytes=0) for name, dtype, shape in tensors
        )
        common = {"tensors": described, "sender": self._device, "trace": (), "correlation_data": None}
        return header.model_copy(update=common).encode()


@dataclass(frozen=True, slots=True)
class ReceivedTable:
    """A table of another device.

    Attributes:
        header: of a feature map of the stage; what differs from request to request is in the messages.
        onward: the same for the stage behind it; None if there is none.
        layout: the tensors of the input.
        document: the bytes from which all of this was decoded.
    """

    header: FeatureMapHeader
    onward: FeatureMapHeader | None
    layout: InputLayout
    document: bytes


class ReceivedTables:
    """Tables of other devices, the last `MAX_RECEIVED` that came or were used."""

    def __init__(self, device: str) -> None:
        """Begin without tables of a device's stages."""
        self._device = device
        self._tables: OrderedDict[tuple[str, int], ReceivedTable] = OrderedDict()
        self._held_bytes = 0

    def learn(self, sender: str, message: TableMessage) -> None:
        """Take a table of a device. A repetition costs one comparison.

        Raises:
            MessageError: it is no header of a feature map.
            DecodeError: it is of another device, for another one, or its tensors are out of bounds.
        """
        key = sender, message.number
        known = self._tables.get(key)
        if known is not None and known.document == message.document:
            return
        document = bytes(message.document)
        header = FeatureMapHeader.decode(document)
        if not 0 < header.stage < len(header.stages):
            raise MessageError(f"a table of stage {header.stage} of a route of {len(header.stages)}")
        if header.tile >= len(header.stages[header.stage].devices):
            raise MessageError(f"a table of tile {header.tile} of a stage without it")
        if header.target != self._device:
            raise MessageError(f"a table for {header.target}")
        if header.sender != sender:
            raise DecodeError(f"a table of {header.sender} from {sender}")
        if header.comes_in_parts:
            raise MessageError("rows of tiles travel in frames")
        layout = InputLayout.read(header.tensors)
        has_more = header.stage + 1 < len(header.stages)
        onward = header.model_copy(update={"stage": header.stage + 1, "tile": 0, "tensors": ()}) if has_more else None
        self._drop(key)
        self._tables[key] = ReceivedTable(header, onward, layout, document)
        self._held_bytes += len(document)
        while len(self._tables) > MAX_RECEIVED or self._held_bytes > _MAX_RECEIVED_BYTES:
            self._drop(next(iter(self._tables)))

    def find(self, sender: str, number: int) -> ReceivedTable:
        """Return a table of a device.

        Raises:
            DecodeError: there is none. The sender repeats its tables.
        """
        key = sender, number
        known = self._tables.get(key)
        if known is None:
            raise DecodeError("rows of an unknown table")
        self._tables.move_to_end(key)
        return known

    def _drop(self, key: tuple[str, int]) -> None:
        dropped = self._tables.pop(key, None)
        self._held_bytes -= 0 if dropped is None else len(dropped.document)
