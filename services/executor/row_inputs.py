"""Inputs that come in parts: rows from several devices, and from this one, become the input of a tile or a segment.

Rows never wait. If they did, two devices could wait for each other's rows for ever, each with its memory full of inputs
that lack a few. So a new input that does not fit takes the place of younger ones that lack rows, else it is given up
itself. The source of a request that is given up hears of it at once, and tries again; such an attempt is no failure.
The order of age is the same on all devices, so that the oldest request never gives way.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from services.executor.admission import Admission
from services.executor.feature_maps import AssembledTensor, EncodedPayload, FeatureMap, RowPlace
from services.executor.sender import AttemptTracker
from shared.bus.errors import DecodeError
from shared.codecs import RAW, CodecError, TensorSpec
from shared.codecs.spec import dtype_name
from shared.lane.input_assembly import (
    MAX_INPUT_BYTES,
    CompleteInput,
    EncodedRows,
    GivenUp,
    InputAssembler,
    InputKey,
    InputLayout,
    InputTensor,
    RowData,
    row_axis,
    row_count,
)
from shared.lane.lane_messages import Piece
from shared.messages.requests import MAX_TRACE, FeatureMapHeader, StageTrace

_LOGGER = logging.getLogger(__name__)

NO_ROOM = "no memory for its rows"

# Takes a complete input, the size with which it was admitted, and the arrival of its first rows.
OnInput = Callable[[FeatureMap, int, float], None]
# Tells the source of an attempt that it ends here for lack of room.
Refuse = Callable[[FeatureMapHeader], None]


@dataclass(frozen=True, slots=True)
class RowPart:
    """Rows of one tensor of an input.

    Attributes:
        data: the rows.
        place: where they belong.
    """

    data: np.ndarray | EncodedPayload
    place: RowPlace

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the rows."""
        return self.data.shape if isinstance(self.data, np.ndarray) else tuple(self.data.header.shape)

    @property
    def dtype(self) -> str:
        """Element type, as numpy calls it."""
        return dtype_name(self.data.dtype) if isinstance(self.data, np.ndarray) else self.data.header.dtype


@dataclass(slots=True)
class _UnderWay:
    """What is known of an input that lacks rows, beside the rows: the last header, and the traces of all headers."""

    header: FeatureMapHeader
    trace: dict[tuple[int, str], StageTrace]

    @property
    def age(self) -> tuple[float, str, str]:
        """Orders requests, the oldest first."""
        header = self.header
        return header.accepted_at_s, header.stream, header.request_id


class RowInputs:
    """The inputs in parts on this device.

    Invariant: `_admission` holds the memory of every input here, and of every stage that was begun with one.
    """

    def __init__(
        self,
        inputs: InputAssembler,
        attempts: AttemptTracker,
        admission: Admission,
        *,
        on_input: OnInput,
        refuse: Refuse,
    ) -> None:
        """Begin without inputs.

        Args:
            inputs: puts rows into their places.
            attempts: which attempts have been here.
            admission: bounds the memory of the inputs.
            on_input: takes a complete input; the caller of it leaves the admission at its end.
            refuse: tells the source of an attempt that there is no room for it.
        """
        self._inputs = inputs
        self._attempts = attempts
        self._admission = admission
        self._on_input = on_input
        self._refuse = refuse
        self._under_way: dict[InputKey, _UnderWay] = {}
        self._is_closed = False

    def take(self, feature_map: FeatureMap, received_s: float) -> None:
        """Take rows that came in a frame, or on the lane.

        Args:
            feature_map: rows, with a header whose times are on this device's clock.
            received_s: when they came, monotonic seconds.

        Raises:
            DecodeError: they are malformed, or do not fit those that came before.
        """
        parts: dict[str, RowPart] = {}
        for name, tensor in feature_map.tensors.items():
            if not isinstance(tensor, EncodedPayload):
                raise DecodeError(f"tensor {name!r} is not one of a frame")
            parts[name] = RowPart(tensor, RowPlace(tensor.header.top, tensor.header.of_rows))
        self.put(feature_map.header, parts, received_s)

    def put(self, header: FeatureMapHeader, parts: Mapping[str, RowPart], received_s: float) -> None:
        """Take rows, such as those that a tile of this device has made for the next one.

        Raises:
            DecodeError: as `take`.
        """
        if self._attempts.is_stale(header.stream, header.request_id, header.attempt):
            return
        if self._is_closed:
            self._refuse(header)
            return
        if self._attempts.note(header.stream, header.request_id, header.attempt):
            self._leave(self._inputs.give_up(header.stream, header.request_id, header.attempt))
        layout, pieces = _layout(parts), _pieces(parts)
        key = InputKey(header.stream, header.request_id, header.attempt, header.dispatched_at_s, header.stage)
        new_bytes = self._inputs.new_bytes(key, layout)
        if new_bytes and not self._make_room(header, new_bytes):
            self._refuse(header)
            return
        try:
            complete = self._inputs.put(key, layout, pieces, received_s)
        except DecodeError:
            if new_bytes:
                self._admission.leave(new_bytes)
            raise
        known = self._under_way.pop(key, None) or _UnderWay(header, {})
        known.header = header
        _unite(known.trace, header.trace)
        if complete is not None:
            trace = tuple(sorted(known.trace.values(), key=lambda entry: (entry.start, entry.rows or ())))[:MAX_TRACE]
            wait_ms = max(0.0, 1000 * (received_s - complete.first_at_s))
            onward = header.model_copy(update={"trace": trace, "tensors": ()})
            self._on_input(FeatureMap(onward, _tensors(complete), wait_ms), layout.size_bytes, complete.first_at_s)
        elif self._inputs.is_under_way(key):
            self._under_way[key] = known

    def give_up(self, stream: str, request_id: str) -> None:
        """Wait for no more rows of a request."""
        self._leave(self._inputs.give_up(stream, request_id))

    def close(self) -> None:
        """Give up every input that lacks rows, take no more rows, and tell the sources of both."""
        self._is_closed = True
        for key, known in list(self._under_way.items()):
            self._refuse(known.header)
            self._leave([self._inputs.drop(key)])

    def tick(self, now_s: float) -> None:
        """Give up inputs whose rows have not come; their sources try again."""
        self._leave(self._inputs.expire(now_s))

    def _make_room(self, header: FeatureMapHeader, size_bytes: int) -> bool:
        """Admit an input, in the place of younger ones that lack rows if need be; return whether it is admitted."""
        newcomer = _UnderWay(header, {})
        while not self._admission.enter_now(size_bytes):
            key, youngest = max(self._under_way.items(), key=lambda item: item[1].age, default=(None, newcomer))
            if key is None or youngest.age <= newcomer.age:
                return False
            # Before it is forgotten: the refusal needs its header.
            self._refuse(youngest.header)
            self._leave([self._inputs.drop(key)])
        return True

    def _leave(self, given_up: Iterable[GivenUp]) -> None:
        for each in given_up:
            _LOGGER.info("gave up stage %d of request %s: rows are missing", each.key.stage, each.key.request_id)
            self._under_way.pop(each.key, None)
            self._admission.leave(each.size_bytes)


def _layout(parts: Mapping[str, RowPart]) -> InputLayout:
    """Return the tensors of an input of which these are rows.

    Raises:
        DecodeError: they are malformed, too large or empty.
    """
    tensors = []
    for name, part in parts.items():
        shape, place = list(part.shape), part.place
        if place.of_rows and shape:
            axis = row_axis(shape)
            if place.top + shape[axis] > place.of_rows:
                raise DecodeError(f"rows [{place.top}, {place.top + shape[axis]}) of {place.of_rows}")
            shape[axis] = place.of_rows
        try:
            spec = TensorSpec.read(part.dtype, shape, limit_bytes=MAX_INPUT_BYTES)
        except CodecError as error:
            raise DecodeError(str(error)) from None
        tensors.append(InputTensor.of(name, spec))
    size_bytes = sum(tensor.spec.size_bytes for tensor in tensors)
    if not 0 < size_bytes <= MAX_INPUT_BYTES:
        raise DecodeError(f"an input of {size_bytes} bytes")
    return InputLayout(tuple(tensors), size_bytes)


def _pieces(parts: Mapping[str, RowPart]) -> list[tuple[Piece, RowData]]:
    pieces: list[tuple[Piece, RowData]] = []
    for index, (name, part) in enumerate(parts.items()):
        rows = row_count(part.shape)
        if not rows:
            continue
        top, bottom = part.place.top, part.place.top + rows
        data: RowData
        if isinstance(part.data, np.ndarray):
            data = part.data
        elif part.data.header.codec != RAW:
            data = EncodedRows(top, bottom, part.data)
        elif len(part.data.payload) != part.data.raw_bytes:
            raise DecodeError(f"{len(part.data.payload)} bytes for rows of {name!r}")
        else:
            data = part.data.payload
        pieces.append((Piece(index, top, bottom), data))
    return pieces


def _tensors(complete: CompleteInput) -> dict[str, np.ndarray | EncodedPayload | AssembledTensor]:
    return {
        name: AssembledTensor(array, complete.undecoded[name]) if name in complete.undecoded else array
        for name, array in complete.tensors.items()
    }


def _unite(known: dict[tuple[int, str], StageTrace], trace: Iterable[StageTrace]) -> None:
    """Add entries of a trace. An entry that came on another way already keeps the earlier time of its sending."""
    for entry in trace:
        place = entry.start, entry.device
        before = known.get(place)
        sent_s = (math.inf if each.sent_at_s is None else each.sent_at_s for each in (entry, before or entry))
        if before is None or next(sent_s) < next(sent_s):
            known[place] = entry
