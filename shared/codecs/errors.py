"""The one error of the codecs."""


class CodecError(ValueError):
    """A tensor that a codec cannot carry, or a payload that is not what its header claims: why, in one line."""
