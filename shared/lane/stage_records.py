"""Trace of a request on the lane: one record of 32 bytes per stage, in place of a model per stage and message.

    record = stage (16 bits), carrier (8), zero (8), queue_ms (f32), received_at_s (f64), sent_at_s (f64, NaN for none),
             compute_ms (f32), output_bytes (32)                                                            (big-endian)

The meaning is that of `StageTrace`. Device and blocks follow from the route, and the codec is always raw. Records are
united by their bytes, so one that arrives on several ways counts once.
"""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.messages.requests import StageTrace
from shared.messages.streams import PlanStage
from shared.transport_mode import Carrier

_RECORD: Final = struct.Struct(">HBxfddfI")
RECORD_BYTES: Final = _RECORD.size
_CARRIERS: Final[tuple[Carrier | None, ...]] = (None, Carrier.MQTT, Carrier.DIRECT)
_LARGEST_BYTES: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class StageRecord:
    """Times of a request on one stage; see `StageTrace`. The input of `pack`, and the output of `unpack_records`."""

    stage: int
    received_at_s: float
    queue_ms: float
    compute_ms: float
    sent_at_s: float | None = None
    output_bytes: int = 0
    carrier: Carrier | None = None

    def pack(self) -> bytes:
        """Return the bytes of the record."""
        return _RECORD.pack(
            self.stage,
            _CARRIERS.index(self.carrier),
            self.queue_ms,
            self.received_at_s,
            math.nan if self.sent_at_s is None else self.sent_at_s,
            self.compute_ms,
            min(self.output_bytes, _LARGEST_BYTES),
        )

    def document(self, stages: Sequence[PlanStage]) -> dict[str, Any]:
        """Return the fields of the `StageTrace`, which nothing has checked.

        Raises:
            ValueError: the route has no such stage.
        """
        if self.stage >= len(stages):
            raise ValueError(f"a record of stage {self.stage} of {len(stages)}")
        stage = stages[self.stage]
        return {
            "device": stage.device,
            "start": stage.start,
            "stop": stage.stop,
            "received_at_s": self.received_at_s,
            "queue_ms": self.queue_ms,
            "compute_ms": self.compute_ms,
            "sent_at_s": self.sent_at_s,
            "output_bytes": self.output_bytes,
            "transport": self.carrier,
        }


def unpack_records(records: bytes) -> list[StageRecord]:
    """Return the records, in the order of their stages and within a stage of their arrival there.

    Raises:
        ValueError: a record names no carrier, or the last one is cut short.
    """
    if len(records) % RECORD_BYTES:
        raise ValueError("a stage record that is cut short")
    unpacked = []
    for stage, carrier, queue_ms, received_at_s, sent_at_s, compute_ms, output_bytes in _RECORD.iter_unpack(records):
        if carrier >= len(_CARRIERS):
            raise ValueError(f"a record with carrier {carrier}")
        sent = None if math.isnan(sent_at_s) else sent_at_s
        unpacked.append(StageRecord(stage, received_at_s, queue_ms, compute_ms, sent, output_bytes, _CARRIERS[carrier]))
    return sorted(unpacked, key=lambda record: (record.stage, record.received_at_s))


def united(parts: Iterable[bytes]) -> bytes:
    """Return the records of several messages, each record once."""
    found: dict[bytes, None] = {}
    for records in parts:
        for start in range(0, len(records), RECORD_BYTES):
            found[records[start : start + RECORD_BYTES]] = None
    return b"".join(found)


def records_of(trace: Sequence[StageTrace], stages: Sequence[PlanStage]) -> bytes | None:
    """Return a trace as records; None if a record cannot hold all of it.

    Args:
        trace: one entry for each of the first stages, as long as nothing else has happened.
        stages: the route.
    """
    packed = []
    for number, (entry, stage) in enumerate(zip(trace, stages, strict=False)):
        if (entry.device, entry.start, entry.stop, entry.codec) != (stage.device, stage.start, stage.stop, "raw"):
            return None
        record = StageRecord(
            number,
            entry.received_at_s,
            entry.queue_ms,
            entry.compute_ms,
            entry.sent_at_s,
            entry.output_bytes,
            entry.transport,
        )
        packed.append(record.pack())
    return b"".join(packed) if len(trace) <= len(stages) else None


def last_record(records: bytes) -> StageRecord | None:
    """Return the last one of packed records; None if there is none."""
    return unpack_records(records[-RECORD_BYTES:])[0] if records else None
