"""The contract of a codec, for built-in and user-defined ones."""

from typing import Protocol, runtime_checkable

from shared.codecs.spec import Array, Buffer, TensorSpec


@runtime_checkable
class Codec(Protocol):
    """An encoding of tensors. No call changes a codec's state, so threads may share it."""

    @property
    def name(self) -> str:
        """Name on the wire: lower-case letters, digits, `_`, `-`, and `+` between steps."""

    @property
    def lossless(self) -> bool:
        """True if decoding restores exactly the same tensor."""

    def supports(self, spec: TensorSpec) -> bool:
        """Return whether tensors of this type and shape can be encoded."""

    def encode(self, tensor: Array) -> list[Buffer]:
        """Encode a tensor.

        Returns:
            The pieces of the body, buffers of single bytes; they may share the tensor's memory.

        Raises:
            CodecError: the tensor has values that the codec cannot represent; the caller then sends it raw.
        """

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the least and the largest size of a body for such a tensor, in bytes.

        A receiver checks the body against these bounds before `decode` allocates memory.
        """

    def decode(self, body: memoryview, spec: TensorSpec) -> Array:
        """Decode a body whose size is within `size_bounds`; the result may share the body's memory.

        Raises:
            CodecError: `encode` cannot have made this body.
        """
