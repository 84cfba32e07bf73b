"""Inputs of stages that arrive in pieces: rows of tensors, from one sender or from several.

State machine of one input, which `InputAssembler` holds by its key:

    State    | rows that are new          | rows that are there already | give_up, expire
    ---------|----------------------------|-----------------------------|----------------
    unknown  | PARTIAL or FINISHED        |                             | unknown
    PARTIAL  | PARTIAL; FINISHED with the | PARTIAL                     | FINISHED
             | last of them               |                             |
    FINISHED | FINISHED                   | FINISHED                    | FINISHED

A finished input leaves nothing but its key, so that late duplicates do not begin it again. Its tensors are handed over
once.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.bus.errors import DecodeError
from shared.bus.frame import ALIGNMENT_BYTES
from shared.codecs import RAW, CodecError, TensorSpec
from shared.lane.lane_messages import MAX_RECORDS, Piece, RequestFacts, RowsMessage
from shared.lane.stage_records import RECORD_BYTES, united
from shared.messages.requests import TensorHeader

MAX_INPUT_BYTES: Final = 256 * 1024 * 1024
# As long as transfers through the broker may be without progress.
_TIMEOUT_S: Final = 30.0
_REMEMBERED: Final = 4096


class InputKey(NamedTuple):
    """The input of a stage for one attempt of a request.

    A source that has lost its memory, or forgotten a request whose id comes again, counts attempts from 1 once more.
    The time of the dispatch tells such an attempt from the earlier one.
    """

    stream: str
    request_id: str
    attempt: int
    dispatched_at_s: float
    stage: int

    @classmethod
    def of(cls, stream: str, stage: int, facts: RequestFacts) -> "InputKey":
        """Return the key of a stage's input."""
        return cls(stream, facts.request_id, facts.attempt, facts.dispatched_at_s, stage)


def row_axis(shape: Sequence[int]) -> int:
    """Return the axis along which the rows of a tensor lie: the height of a feature map, else the first axis."""
    return len(shape) - 2 if len(shape) >= 3 else 0


def row_count(shape: Sequence[int]) -> int:
    """Return the number of rows of a tensor; 1 without dimensions."""
    return shape[row_axis(shape)] if shape else 1


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor of an input.

    Attributes:
        name: its name in the model.
        spec: type and shape. Of a tile's input, the rows that the tile needs.
        rows: their number; 1 for a tensor without dimensions.
    """

    name: str
    spec: TensorSpec
    rows: int

    @classmethod
    def of(cls, name: str, spec: TensorSpec) -> "InputTensor":
        """Return the tensor with its rows."""
        return cls(name, spec, row_count(spec.shape))

    def shape_of(self, rows: int) -> tuple[int, ...]:
        """Return the shape of a number of rows."""
        if not self.spec.shape:
            return ()
        axis = row_axis(self.spec.shape)
        return (*self.spec.shape[:axis], rows, *self.spec.shape[axis + 1 :])

    def place(self, array: NDArray[Any], top: int, bottom: int) -> NDArray[Any]:
        """Return the view of rows `[top, bottom)` of the whole tensor."""
        view: NDArray[Any] = array[(slice(None),) * row_axis(self.spec.shape) + (slice(top, bottom),)]
        return view


@dataclass(frozen=True, slots=True)
class InputLayout:
    """The tensors of an input, in the order of the table.

    Attributes:
        tensors: the tensors.
        size_bytes: their size together.
    """

    tensors: tuple[InputTensor, ...]
    size_bytes: int

    @classmethod
    def read(cls, headers: Sequence[TensorHeader]) -> "InputLayout":
        """Return the layout that a table describes, after checking it.

        Raises:
            DecodeError: a tensor is encoded or malformed, or the input is empty or too large.
        """
        if any(header.codec != RAW for header in headers):
            raise DecodeError("a tensor with an encoding, which the lane does not carry")
        try:
            specs = [TensorSpec.read(each.dtype, each.shape, limit_bytes=MAX_INPUT_BYTES) for each in headers]
        except CodecError as error:
            raise DecodeError(str(error)) from None
        size_bytes = sum(spec.size_bytes for spec in specs)
        if not 0 < size_bytes <= MAX_INPUT_BYTES or len({header.name for header in headers}) < len(headers):
            raise DecodeError(f"an input of {size_bytes} bytes, or with two tensors of one name")
        named = zip(headers, specs, strict=True)
        return cls(tuple(InputTensor.of(header.name, spec) for header, spec in named), size_bytes)

    def rows_of(self, message: RowsMessage) -> list[tuple[Piece, memoryview]]:
        """Return the pieces of a message with their rows, which are not copied.

        Raises:
            DecodeError: a piece is not within its tensor, or the payload has not the size of its pieces.
        """
        found: list[tuple[Piece, memoryview]] = []
        start = 0
        for piece in message.pieces:
            if piece.tensor >= len(self.tensors):
                raise DecodeError(f"a piece of tensor {piece.tensor} of {len(self.tensors)}")
            tensor = self.tensors[piece.tensor]
            if not 0 <= piece.top < piece.bottom <= tensor.rows:
                raise DecodeError(f"rows [{piece.top}, {piece.bottom}) of {tensor.rows}")
            stop = start + tensor.spec.size_bytes // tensor.rows * (piece.bottom - piece.top)
            found.append((piece, message.payload[start:stop]))
            start = stop + -stop % ALIGNMENT_BYTES
        # Behind the last piece there may be padding.
        if not stop <= len(message.payload) <= start:
            raise DecodeError(f"{len(message.payload)} bytes for pieces of {stop}")
        return found


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Rows that came with an encoding.

    Attributes:
        top: their place in the tensor.
        bottom: the end of it.
        payload: what decodes to them.
    """

    top: int
    bottom: int
    payload: Any


# Rows as an array, as the bytes of an array, or encoded.
RowData = NDArray[Any] | memoryview | EncodedRows


@dataclass(frozen=True, slots=True)
class CompleteInput:
    """An input whose rows are all there.

    Attributes:
        tensors: the tensors by name; views into the message where one piece has all rows of a tensor.
        records: stage records of all messages, each once.
        first_at_s: arrival of the first rows.
        undecoded: rows that are still to be put into their place, by tensor.
    """

    tensors: dict[str, NDArray[Any]]
    records: bytes
    first_at_s: float
    undecoded: dict[str, list["EncodedRows"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A partial input that was dropped.

    Attributes:
        key: whose input it was.
        size_bytes: size of its tensors.
    """

    key: InputKey
    size_bytes: int


@dataclass(slots=True)
class _Partial:
    """An input with rows that are missing.

    Invariant: the intervals in `there` of each tensor are disjoint and ascending, and none touches the next one.
    """

    layout: InputLayout
    first_at_s: float
    last_at_s: float
    arrays: list[NDArray[Any] | None]
    there: list[list[tuple[int, int]]]
    records: list[bytes] = field(default_factory=list)
    undecoded: dict[str, list[EncodedRows]] = field(default_factory=dict)

    @classmethod
    def begin(cls, layout: InputLayout, now_s: float) -> "_Partial":
        count = len(layout.tensors)
        return cls(layout, now_s, now_s, [None] * count, [[] for _ in range(count)])

    def add(self, piece: Piece, rows: RowData) -> bool:
        """Put rows into their place; return whether some of them are new."""
        tensor = self.layout.tensors[piece.tensor]
        before = self.there[piece.tensor]
        after = _joined(before, piece.top, piece.bottom)
        if after == before:
            return False
        self.there[piece.tensor] = after
        if isinstance(rows, EncodedRows):
            self.undecoded.setdefault(tensor.name, []).append(rows)
            return True
        if isinstance(rows, memoryview):
            rows = np.frombuffer(rows, tensor.spec.dtype.newbyteorder("<"))
        part = rows.reshape(tensor.shape_of(piece.bottom - piece.top))
        whole = self.arrays[piece.tensor]
        if piece.bottom - piece.top == tensor.rows:
            # All of it in one piece: the tensor stays where it has arrived.
            whole = part
            self.undecoded.pop(tensor.name, None)
        else:
            # Neither cleared nor touched before its rows arrive. Rows of a feature map lie apart in memory, one strip
            # per channel, so that they are copied there and not received there.
            whole = np.empty(tensor.spec.shape, tensor.spec.dtype) if whole is None else whole
            tensor.place(whole, piece.top, piece.bottom)[...] = part
        self.arrays[piece.tensor] = whole
        return True

    @property
    def is_complete(self) -> bool:
        return all(
            tensor.rows == 0 or intervals == [(0, tensor.rows)]
            for tensor, intervals in zip(self.layout.tensors, self.there, strict=True)
        )

    def finished(self) -> CompleteInput:
        named = zip(self.layout.tensors, self.arrays, strict=True)
        tensors = {
            tensor.name: np.empty(tensor.spec.shape, tensor.spec.dtype) if array is None else array
            for tensor, array in named
        }
        records = self.records[0] if len(self.records) == 1 else united(self.records)[: MAX_RECORDS * RECORD_BYTES]
        return CompleteInput(tensors, records, self.first_at_s, self.undecoded)


class InputAssembler:
    """Inputs under way. The caller bounds their memory: it asks `new_bytes` before it takes rows.

    Invariant: no key is in `_partial` and in `_finished`. `_partial` is in ascending order of the last progress.
    """

    def __init__(self, timeout_s: float = _TIMEOUT_S) -> None:
        """Begin without inputs, which expire after this time without progress."""
        self._timeout_s = timeout_s
        self._partial: OrderedDict[InputKey, _Partial] = OrderedDict()
        self._finished: OrderedDict[InputKey, None] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of partial inputs."""
        return len(self._partial)

    def new_bytes(self, key: InputKey, layout: InputLayout) -> int:
        """Return the memory that rows of an input need; 0 if it has begun or is finished."""
        return 0 if key in self._partial or key in self._finished else layout.size_bytes

    def take(self, key: InputKey, layout: InputLayout, message: RowsMessage, now_s: float) -> CompleteInput | None:
        """Take rows.

        Returns:
            The input with its last rows, None before and after.

        Raises:
            DecodeError: the message does not fit the layout, or the layout is not that of the rows before. Nothing has
                changed then.
        """
        return self.put(key, layout, layout.rows_of(message), now_s, message.records)

    def put(
        self,
        key: InputKey,
        layout: InputLayout,
        pieces: Sequence[tuple[Piece, RowData]],
        now_s: float,
        records: bytes = b"",
    ) -> CompleteInput | None:
        """Take rows that fit the layout; otherwise like `take`."""
        if key in self._finished:
            return None
        partial = self._partial.get(key)
        if partial is None:
            partial = _Partial.begin(layout, now_s)
            self._partial[key] = partial
        elif partial.layout != layout:
            raise DecodeError("senders disagree about the tensors of an input")
        # No generator: every piece has to be put into its place.
        if any([partial.add(piece, rows) for piece, rows in pieces]):
            partial.records.append(records)
            partial.last_at_s = now_s
            self._partial.move_to_end(key)
        if not partial.is_complete:
            return None
        self._finish(key)
        return partial.finished()

    def is_under_way(self, key: InputKey) -> bool:
        """Return whether an input has begun and lacks rows."""
        return key in self._partial

    def drop(self, key: InputKey) -> GivenUp:
        """Drop a partial input and return it.

        Raises:
            KeyError: there is no such partial input.
        """
        return self._drop(iter((key,)))[0]

    def give_up(self, stream: str, request_id: str, before_attempt: float = math.inf) -> list[GivenUp]:
        """Drop the partial inputs of a request, or of its attempts before one, and return them."""
        return self._drop(
            key
            for key in self._partial
            if (key.stream, key.request_id) == (stream, request_id) and key.attempt < before_attempt
        )

    def expire(self, now_s: float) -> list[GivenUp]:
        """Drop the partial inputs that had no new rows for too long, and return them."""
        return self._drop(key for key, each in self._partial.items() if now_s - each.last_at_s >= self._timeout_s)

    def _drop(self, keys: Iterator[InputKey]) -> list[GivenUp]:
        given_up = [GivenUp(key, self._partial[key].layout.size_bytes) for key in keys]
        for each in given_up:
            self._finish(each.key)
        return given_up

    def _finish(self, key: InputKey) -> None:
        del self._partial[key]
        self._finished[key] = None
        if len(self._finished) > _REMEMBERED:
            self._finished.popitem(last=False)


def _joined(intervals: list[tuple[int, int]], top: int, bottom: int) -> list[tuple[int, int]]:
    """Return the intervals with another one; those that overlap or touch become one."""
    if not intervals:
        return [(top, bottom)]
    apart = [each for each in intervals if each[1] < top or each[0] > bottom]
    merged = [each for each in intervals if not (each[1] < top or each[0] > bottom)]
    joined = (min([top, *(each[0] for each in merged)]), max([bottom, *(each[1] for each in merged)]))
    return sorted([*apart, joined])
