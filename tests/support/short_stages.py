"""Headers and messages of a route of short stages, as two devices exchange them on the lane."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from shared.bus.frame import Buffer
from shared.codecs.spec import as_bytes
from shared.lane.input_assembly import row_count
from shared.lane.lane_messages import Piece, RequestFacts, RowsMessage, decode_lane_message, encode_rows
from shared.messages.requests import FeatureMapHeader
from shared.messages.streams import PlanStage

STAGES = tuple(PlanStage(start=k, stop=k + 1, device=("pi", "server")[k % 2]) for k in range(4))
FACTS = RequestFacts("r1", 1, 1000, 100.0, 101.0, None, 7.0)


def header(**changes: Any) -> FeatureMapHeader:
    """Return the header of a request before stage 1, which is the server's."""
    return FeatureMapHeader(
        transfer_id="",
        sender="pi",
        request_id="r1",
        stream="s",
        model="0" * 64,
        epoch=3,
        attempt=1,
        stages=STAGES,
        stage=1,
        tensors=(),
        source="pi",
        accepted_at_s=100.0,
        dispatched_at_s=101.0,
        accepted_s=7.0,
        sent_s=8.0,
        input_bytes=1000,
    ).model_copy(update=changes)


def joined(buffers: list[Buffer]) -> memoryview:
    """Return buffers as a receiver has them."""
    return memoryview(b"".join(bytes(buffer) for buffer in buffers)).toreadonly()


def rows_message(
    *parts: tuple[int, int, np.ndarray], table: int = 7, facts: RequestFacts = FACTS, records: bytes = b""
) -> RowsMessage:
    """Return the message of rows, each given by the index of its tensor, its first row and the rows."""
    pieces = [(Piece(tensor, top, top + row_count(rows.shape)), as_bytes(rows)) for tensor, top, rows in parts]
    decoded = decode_lane_message(joined(encode_rows(table, facts, 9.0, records, pieces)))
    assert isinstance(decoded, RowsMessage)
    return decoded


def same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    """Return whether tensors are equal in name, type and value."""
    return found.keys() == expected.keys() and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in expected.items()
    )
