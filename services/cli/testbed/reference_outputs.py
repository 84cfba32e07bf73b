"""The whole model run in one piece: what every result is held against."""

import hashlib
from pathlib import Path

import numpy as np

from services.cli.render.fleet_view import is_encoded
from services.executor.segments.prepare import prepare
from shared.codecs.encoding_effect import effect_on
from shared.messages.models import Manifest
from shared.messages.requests import Outcome, OutcomeStatus
from shared.model.onnx_file.runtime import ModelSession

RELATIVE_TOLERANCE = 1e-5
ABSOLUTE_TOLERANCE = 1e-6
ENCODED_TOLERANCE = 0.05
"""Of an output's largest value, where feature maps travelled in a lossy encoding and no best class is compared."""


class Reference:
    """Runs the whole model once per payload and remembers the outputs."""

    def __init__(self, manifest: Manifest, file: Path) -> None:
        """Load the model.

        Raises:
            ModelError: the runtime refuses it.
        """
        self._manifest = manifest
        self._session = ModelSession(str(file))
        self._known: dict[bytes, dict[str, np.ndarray]] = {}

    def outputs(self, payload: bytes) -> dict[str, np.ndarray]:
        """Return the whole model's outputs for a request's payload, by name.

        Raises:
            BadInput: the payload is no input of the model.
        """
        key = hashlib.sha256(payload).digest()
        if key not in self._known:
            self._known[key] = self._session.run(prepare(payload, self._manifest))
        return self._known[key]

    def differs(self, payload: bytes, outcome: Outcome) -> bool:
        """Say whether a result is another than the whole model's: an output is missing, of another shape, or off.

        Off is more than 1e-5 of the value plus 1e-6. Where feature maps travelled in a lossy encoding, which changes
        every number a little, it is another best class, or without classes more than `ENCODED_TOLERANCE`. Errors are
        no results and do not differ.
        """
        if outcome.status is not OutcomeStatus.OK:
            return False
        got = {
            tensor.name: np.frombuffer(tensor.data, dtype=np.dtype(tensor.dtype)).reshape(tensor.shape)
            for tensor in outcome.outputs
        }
        expected = self.outputs(payload)
        if any(name not in got or got[name].shape != output.shape for name, output in expected.items()):
            return True
        if not is_encoded(outcome):
            return not all(
                np.allclose(got[name], output, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True)
                for name, output in expected.items()
            )
        effect = effect_on(expected, got)
        if effect.top1_agreement is not None:
            return effect.top1_agreement < 1
        return effect.max_relative_error > ENCODED_TOLERANCE
