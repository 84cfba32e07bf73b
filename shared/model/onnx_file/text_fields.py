"""Check of the texts in an ONNX file: names, types of operators, metadata.

The protocol buffer of ONNX accepts any bytes in a text. Python's names of them would be bytes then, and fail wherever
they are used.
"""

from collections.abc import Iterator

import onnx
from google.protobuf.descriptor import FieldDescriptor  # type: ignore[import-untyped]
from google.protobuf.message import Message  # type: ignore[import-untyped]

from shared.model.errors import ModelFileError


def check_texts(proto: onnx.ModelProto) -> None:
    """Check that every text of a model is UTF-8. The values of tensors are not read.

    Raises:
        ModelFileError: one is not.
    """
    for place, text in _texts(proto, "ModelProto"):
        if isinstance(text, bytes):
            raise ModelFileError(f"not a valid ONNX model: {place} {text[:50]!r} is no text in UTF-8")


def _texts(message: Message, kind: str) -> Iterator[tuple[str, str | bytes]]:
    if isinstance(message, onnx.TensorProto):
        yield "the name of a tensor", message.name
        yield from (
            ("the place of a tensor", part) for each in message.external_data for part in (each.key, each.value)
        )
        return
    for field, value in message.ListFields():
        values = value if field.is_repeated else (value,)
        if field.type == FieldDescriptor.TYPE_STRING:
            yield from ((f"{field.name} of {kind}", text) for text in values)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            for each in values:
                yield from _texts(each, field.message_type.name)
