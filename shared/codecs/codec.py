"""What a codec is: the contract that built-in and user-defined encodings of tensors fulfil."""

from typing import Protocol, runtime_checkable

from shared.codecs.spec import Array, Buffer, TensorSpec


@runtime_checkable
class Codec(Protocol):
    """An encoding of tensors. Codecs have no state that a call changes, so threads may share them."""

    @property
    def name(self) -> str:
        """The name on the wire: lower-case letters, digits, `_`, `-`, and `+` between steps."""

    @property
    def lossless(self) -> bool:
        """Whether decoding gives back the very same tensor."""

    def supports(self, spec: TensorSpec) -> bool:
        """Whether tensors like this can be encoded at all."""

    def encode(self, tensor: Array) -> list[Buffer]:
        """Encode a tensor.

        Returns:
            The pieces of the body; they may refer to the tensor's memory.

        Raises:
            CodecError: the tensor has values that the codec cannot represent; it then travels raw.
        """

    def size_bounds(self, spec: TensorSpec) -> tuple[int, int]:
        """Return the least and the largest size of a body for such a tensor, in bytes."""

    def decode(self, body: memoryview, spec: TensorSpec) -> Array:
        """Decode a body that keeps to `size_bounds`; the result may refer to the body's memory.

        Raises:
            CodecError: the body is not one that `encode` could have made.
        """
