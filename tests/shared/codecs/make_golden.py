"""Writes golden vectors that are missing, for a new codec or a new version of the wire format."""

import base64
import json
from pathlib import Path

import numpy as np

from shared.codecs import decode_tensor, encode_tensor, make_registry


def main() -> None:
    """Write one file per built-in codec that has none yet."""
    registry = make_registry()
    tensor = np.maximum(np.random.default_rng(4).normal(0, 3, (1, 3, 5, 7)), -1).astype(np.float32)
    tensor[0, 1] = np.maximum(tensor[0, 1], 0)
    tensor[0, 2] = 0
    for name, codec in registry.items():
        path = Path(__file__).parent / "golden" / f"{name.replace('+', '_')}.json"
        if path.exists():
            continue
        payload = bytes(encode_tensor(tensor, codec).payload())
        decoded = decode_tensor(name, "float32", tensor.shape, payload, registry)
        document = {
            "codec": name,
            "dtype": "float32",
            "shape": list(tensor.shape),
            "tensor": base64.b64encode(tensor.tobytes()).decode(),
            "payload": base64.b64encode(payload).decode(),
            "decoded": base64.b64encode(decoded.tobytes()).decode(),
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
