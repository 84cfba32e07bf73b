"""Operations of a request on a route with tiles: computings and sendings of rows, and what each waits for."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from planning.problem.crossings import Encoding
from planning.problem.plan import RAW, Route
from planning.problem.problem import Model, Problem, Stream
from planning.queueing.operations import Operation, Work
from planning.tiles.tiling import Share, layout
from shared.row_ranges import RowRange


class OperationCosts(Protocol):
    """Costs of single computings and sendings; `RouteCostModel` has them."""

    problem: Problem

    def compute_ms(self, device: str, model: str, start: int, stop: int) -> float:
        """Return the time of whole blocks, in ms."""

    def tile_ms(self, device: str, model: str, start: int, computed: Sequence[RowRange]) -> float:
        """Return the time of these rows of the blocks from ``start`` on, in ms."""

    def codec_ms(self, device: str, work_ms: float) -> float:
        """Return the time of encoding or decoding, in ms."""

    def encoding(self, model: str, cut: int, codec: str) -> Encoding:
        """Return an encoding of the tensors that cross a cut."""

    def send(
        self,
        sender: str,
        receiver: str,
        size_bytes: float,
        stage: int,
        needs: tuple[int, ...] | None = None,
        rows: RowRange | None = None,
    ) -> Operation:
        """Return the sending of rows, with the operations that it waits for."""


def tiled_operations(costs: OperationCosts, stream: Stream, route: Route) -> tuple[Operation, ...]:
    """Return the operations of a request, each with those that it waits for.

    They stand stage by stage: first the sendings of what its tiles need, then the computings.

    Raises:
        NoLinkError: if rows have to pass between devices without a link.
        KeyError: if a device cannot run the model, or an encoding is not offered.
        UntileableError: if a stage with several tiles lacks row data.
    """
    return _Builder(costs, stream, route).build()


class _Builder:
    """Appends the operations of one request to ``_operations``; the place of an operation is its index there."""

    def __init__(self, costs: OperationCosts, stream: Stream, route: Route) -> None:
        self._costs, self._stream, self._route = costs, stream, route
        self._model = costs.problem.models[stream.model]
        self._layout = layout(self._model, stream, route)
        # Entry i is about the cut before stage i, the last one about that of the results. The input is sent raw.
        cuts = (0, *(stage.stop for stage in route.stages))
        codecs = (RAW, *(stage.codec for stage in route.stages))
        self._encodings = [
            costs.encoding(stream.model, cut, codec if any(share.sent for share in passed) else RAW)
            for cut, codec, passed in zip(cuts, codecs, self._layout.shares, strict=True)
        ]
        self._operations: list[Operation] = []

    def build(self) -> tuple[Operation, ...]:
        # The source's input is made by no operation.
        makers: list[int | None] = [None]
        for index in range(len(self._route.stages)):
            makers = self._compute(index, self._send(index, makers))
        last = len(self._route.stages)
        arrived = self._send(last, makers)
        decode_ms = _coded_ms(self._encodings[last].decode_ms, self._layout.shares[last])
        if decode_ms and (sink := self._stream.sink) is not None:
            duration_ms = self._costs.codec_ms(sink, decode_ms)
            self._operations.append(Operation(Work.COMPUTE, sink, duration_ms, last, needs=tuple(arrived[0])))
        return tuple(self._operations)

    def _send(self, index: int, makers: Sequence[int | None]) -> dict[int, list[int]]:
        """Append the sendings before stage ``index``; return the operations that each of its tiles waits for."""
        arrived: defaultdict[int, list[int]] = defaultdict(list)
        for share in self._layout.shares[index]:
            maker = makers[share.holder]
            needs = () if maker is None else (maker,)
            if share.sent:
                arrived[share.reader].append(len(self._operations))
                size_bytes = _size_bytes(self._model, self._cut(index), self._encodings[index], share)
                sending = self._costs.send(share.sender, share.receiver, size_bytes, index - 1, needs, share.range)
                self._operations.append(sending)
            # Rows that the reader's device holds itself are there when their tile has made them.
            else:
                arrived[share.reader] += needs
        return arrived

    def _compute(self, index: int, arrived: dict[int, list[int]]) -> list[int | None]:
        """Append the computings of the tiles of stage ``index``; return the place of each one's operation."""
        stage, tiles = self._route.stages[index], self._layout.tiles[index]
        decode_ms, encode_ms = self._encodings[index].decode_ms, self._encodings[index + 1].encode_ms
        before, after = self._layout.shares[index], self._layout.shares[index + 1]
        makers: list[int | None] = []
        for place, tile in enumerate(stage.tiles):
            if tiles is None:
                duration_ms = self._costs.compute_ms(tile.device, self._stream.model, stage.start, stage.stop)
            else:
                computed = tiles[place].computed
                duration_ms = self._costs.tile_ms(tile.device, self._stream.model, stage.start, computed)
            # A device decodes what it receives, and encodes what it sends, as part of its computing.
            if decode_ms or encode_ms:
                coding_ms = _coded_ms(decode_ms, [share for share in before if share.reader == place])
                coding_ms += _coded_ms(encode_ms, [share for share in after if share.holder == place])
                duration_ms += self._costs.codec_ms(tile.device, coding_ms)
            makers.append(len(self._operations))
            needs = tuple(sorted(arrived.get(place, ())))
            rows = None if tiles is None else tile.rows
            self._operations.append(Operation(Work.COMPUTE, tile.device, duration_ms, index, needs=needs, rows=rows))
        return makers

    def _cut(self, index: int) -> int:
        return self._route.stages[index - 1].stop if index else 0


def _size_bytes(model: Model, cut: int, encoding: Encoding, share: Share) -> float:
    """Return the encoded size of a share, in proportion to its rows; raw rows take the block's ``bytes_per_row``."""
    rows = model.blocks[cut - 1].rows if cut else None
    if share.range is not None and encoding.codec == RAW and rows is not None and rows.bytes_per_row is not None:
        return rows.bytes_per_row * share.rows
    return encoding.size_bytes * share.rows / share.of


def _coded_ms(whole_ms: float, shares: Iterable[Share]) -> float:
    """Return the time of encoding or decoding the sent shares on a device of speed 1, in ms."""
    return sum(whole_ms * share.rows / share.of for share in shares if share.sent)
