"""Reference outputs of the whole model, with which every result is compared."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from services.cli.render.fleet_view import is_encoded
from services.executor.segments.prepare import prepare
from shared.codecs.encoding_effect import effect_on
from shared.messages.models import Manifest
from shared.messages.requests import Outcome, OutcomeStatus
from shared.model.onnx_file.runtime import ModelSession
from shared.model.onnx_file.verification import compare

# Largest error, relative to an output's largest value, for lossy encodings of models without classes.
ENCODED_TOLERANCE: Final = 0.05


class ReferenceOutputs:
    """The outputs of the whole model, computed once per payload."""

    def __init__(
        self, manifest: Manifest, file: Path, tolerance: float, fixed_inputs: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Load the model.

        Args:
            manifest: its description.
            file: the ONNX file.
            tolerance: largest difference of an output relative to its largest value (see `shared.model.tolerance`).
            fixed_inputs: values of inputs of the file that the fleet's model does not have.

        Raises:
            ModelError: the runtime refuses the model.
        """
        self._manifest = manifest
        self._tolerance = tolerance
        self._session = ModelSession(str(file))
        self._fixed_inputs = fixed_inputs or {}
        self._names = tuple(spec.name for spec in manifest.outputs)
        self._outputs: dict[bytes, dict[str, np.ndarray]] = {}

    def outputs(self, payload: bytes) -> dict[str, np.ndarray]:
        """Return the whole model's outputs for a request's payload, by name.

        Raises:
            BadInput: the payload is no input of the model.
        """
        key = hashlib.sha256(payload).digest()
        if key not in self._outputs:
            values = {**prepare(payload, self._manifest), **self._fixed_inputs}
            self._outputs[key] = self._session.run(values, self._names)
        return self._outputs[key]

    def differs(self, payload: bytes, outcome: Outcome) -> bool:
        """Return whether a result differs from the whole model's. An error is no result and does not differ.

        An output differs if it is missing, has another shape, or deviates by more than the tolerance. A lossy encoding
        changes every number a little. Then the best class must be the same, or the error of a model without classes at
        most `ENCODED_TOLERANCE`.
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
            return compare(expected, got).max_rel_error > self._tolerance
        effect = effect_on(expected, got)
        if effect.top1_agreement is not None:
            return effect.top1_agreement < 1
        return effect.max_relative_error > ENCODED_TOLERANCE
