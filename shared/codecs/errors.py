"""The error of the codecs."""


class CodecError(ValueError):
    """A codec cannot encode the tensor, or a payload does not fit its header; the message is one line."""
