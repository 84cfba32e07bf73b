"""Small ONNX models from ONNX's text form."""

import numpy as np
import onnx
from onnx import numpy_helper, parser


def onnx_bytes(text: str, *, opset: int = 17, ir_version: int = 8, **initializers: np.ndarray) -> bytes:
    """Parse a graph such as `g (float[1,3] x) => (float[1,3] y) {y = Relu(x)}`, and add initializers."""
    model = parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "com.example" : 1]> {text}')
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(values), name) for name, values in initializers.items()
    )
    return model.SerializeToString()


def read_back(data: bytes) -> onnx.ModelProto:
    """Parse and fully check a model."""
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    return model
