"""Errors of models.

ModelError
├── ModelFileError            the file cannot be read as an ONNX model
│   └── ExternalDataError     weights stored beside the file are missing
├── UnsupportedModelError     the model is valid ONNX, but Segue cannot cut it
│   ├── ShapeError            a shape stays unknown, or a given input shape does not fit
│   └── AbsentValuesError     the values of a weight are needed, but only their place in a packed file is known
├── CutError                  the model has no such cut or range of blocks
├── TileError                 a segment cannot be split into tiles, or not into these
├── UnknownArchitectureError  no reference architecture has this name
├── TimeLimitError            ONNX Runtime does not end within the time that the model's operations explain
└── RuntimeFailureError       ONNX Runtime refuses to load or to run a model
"""


class ModelError(Exception):
    """Root of the errors; the message is one line with the cause, the place and, where there is one, the remedy."""

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


class AbsentValuesError(UnsupportedModelError):
    """The values of a weight are needed, but only their place in a packed file is known."""

    def __init__(self, tensor: str) -> None:
        """Name the weight."""
        super().__init__(f"the values of weight {tensor!r} decide about shapes, but are packed apart from the graph")
        self.tensor = tensor


class CutError(ModelError):
    """The model has no such cut or range of blocks."""


class TileError(ModelError):
    """A segment cannot be split into tiles, or not into these; the message names the node and the reason."""


class UnknownArchitectureError(ModelError):
    """No reference architecture has this name."""


class TimeLimitError(ModelError):
    """ONNX Runtime does not end within the time that the model's operations explain."""


class RuntimeFailureError(ModelError):
    """ONNX Runtime refuses to load or to run a model."""
