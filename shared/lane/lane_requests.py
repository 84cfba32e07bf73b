"""What a message of the lane says about its request, made from the header of a feature map and turned back into one.

Stages between pass `RequestFacts.context` on as it is. It is decoded once per request, where its outcome is made.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import msgpack
from pydantic import ValidationError

from shared.bus.errors import DecodeError
from shared.bus.frame import decode_frame
from shared.lane.lane_messages import MAX_CONTEXT_BYTES, RequestFacts
from shared.lane.stage_records import records_of, unpack_records
from shared.messages.base import MessageError, describe_faults
from shared.messages.requests import JSON_CONTENT, FeatureMapHeader

# Fields of the header in a context. Those with their default are left out.
_CONTEXT: Final[Mapping[str, Any]] = {
    "accept": JSON_CONTENT,
    "response_topic": None,
    "correlation_data": None,
    "traceparent": None,
}
_TRACE: Final = "trace"
# Fields of the header that a message states itself.
_FACTS: Final = tuple(field.name for field in dataclasses.fields(RequestFacts) if field.name != "context")


def facts_of(header: FeatureMapHeader) -> tuple[RequestFacts, bytes] | None:
    """Return the facts of a request and its stage records; None if they do not fit into a message.

    Args:
        header: of a feature map on this device, so that its monotonic times are of this device's clock.
    """
    context = {name: value for name, default in _CONTEXT.items() if (value := getattr(header, name)) != default}
    records = records_of(header.trace, header.stages)
    if records is None:
        # Such as a stage whose output was encoded: the trace stays what it is, and records follow.
        records = b""
        context[_TRACE] = [entry.model_dump(mode="python", exclude_defaults=True) for entry in header.trace]
    packed = msgpack.packb(context) if context else b""
    facts = RequestFacts(**{name: getattr(header, name) for name in _FACTS}, context=packed)
    return (facts, records) if len(packed) <= MAX_CONTEXT_BYTES else None


def header_of(table: FeatureMapHeader, facts: RequestFacts, records: bytes, sent_s: float) -> FeatureMapHeader:
    """Return the header of a feature map, as if it had come in a frame.

    Args:
        table: header of the table.
        facts: the request.
        records: its stage records.
        sent_s: when its message was sent, on the sender's monotonic clock.

    Raises:
        MessageError: a value is out of the bounds of the header.
        DecodeError: the context is no map.
    """
    context: Mapping[str, Any] = {}
    if facts.context:
        context, views = decode_frame(facts.context)
        if views or not context.keys() <= {*_CONTEXT, _TRACE}:
            raise DecodeError("a context with other fields than a request has")
    earlier = context.get(_TRACE, [])
    if not isinstance(earlier, list):
        raise MessageError("the trace in a context is no list")
    try:
        trace = [record.document(table.stages) for record in unpack_records(records)]
    except ValueError as error:
        raise MessageError(str(error)) from None
    document = {
        **table.model_dump(mode="python"),
        **_CONTEXT,
        **context,
        **{name: getattr(facts, name) for name in _FACTS},
        "sent_s": sent_s,
        _TRACE: [*earlier, *trace],
    }
    try:
        return FeatureMapHeader.model_validate(document)
    except ValidationError as error:
        raise MessageError(describe_faults(error)) from None
