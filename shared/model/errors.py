"""What can be wrong with a model: one error tree.

ModelError
├── ModelFileError            the file cannot be read as an ONNX model
│   └── ExternalDataError     weights stored beside the file are missing
├── UnsupportedModelError     the model is valid ONNX, but Segue cannot cut it
│   └── ShapeError            a shape stays unknown, or a given input shape does not fit
├── CutError                  a cut or a range of blocks that the model does not have
├── UnknownArchitectureError  no reference architecture has this name
└── RuntimeFailureError       the runtime refused to load or run a model
"""


class ModelError(Exception):
    """Something is wrong with a model; the message is one line that says what, where and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ModelFileError(ModelError):
    """The file cannot be read as an ONNX model."""


class ExternalDataError(ModelFileError):
    """Weights that the model stores in files beside it are missing."""


class UnsupportedModelError(ModelError):
    """The model is valid ONNX, but cannot be cut."""


class ShapeError(UnsupportedModelError):
    """A shape stays unknown, or a given input shape does not fit the model."""


class CutError(ModelError):
    """A cut or a range of blocks that the model does not have."""


class UnknownArchitectureError(ModelError):
    """No reference architecture has this name."""


class RuntimeFailureError(ModelError):
    """The runtime refused to load or to run a model."""
