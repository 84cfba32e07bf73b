"""The calibration of one model on this machine."""

import logging
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path

from services.cli.calibration.measure import MeasureSettings, OnSample, measure
from services.cli.calibration.samples import read_samples
from services.executor.segments.coding import Coder
from shared.codecs import RAW, CodecRegistry, load_registry
from shared.exit_status import InputError
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest
from shared.model.onnx_file import load_model

_LOGGER = logging.getLogger(__name__)


def calibrate_model(
    file: Path,
    manifest: Manifest,
    images: Path,
    *,
    codecs: Sequence[str] = (),
    variants: int | None = None,
    only_useful: bool = False,
    on_sample: OnSample | None = None,
) -> Calibration:
    """Measure the encodings of a model's feature maps on this machine.

    Args:
        file: the ONNX file.
        manifest: its description, with the preprocessing of photographs.
        images: folder with the calibration set.
        codecs: the encodings to measure beside raw; all that are installed if empty.
        variants: inputs per photograph, see `read_samples`.
        only_useful: see `MeasureSettings`.
        on_sample: called with the progress.

    Raises:
        InputError: a codec is not installed, or the folder has no inputs of the model.
        ModelError: Segue cannot cut the model.
    """
    samples = read_samples(images, manifest, variants=variants)
    for fault in samples.skipped:
        _LOGGER.warning("left out of the calibration: %s", fault)
    registry = load_registry()
    unknown = [name for name in codecs if name not in registry]
    if unknown:
        raise InputError(f"no codec is called {unknown[0]!r}; there are {', '.join(registry)}")
    chosen = CodecRegistry(registry[name] for name in registry if not codecs or name in (RAW, *codecs))
    shapes = {spec.name: spec.shape for spec in manifest.inputs}
    model = load_model(file, input_shapes=shapes, max_cut_tensors=manifest.max_cut_tensors)
    settings = MeasureSettings(threads=os.cpu_count() or 1, only_useful=only_useful)
    measured = measure(model, samples, Coder(chosen, settings.engine), settings, on_sample=on_sample)
    return measured.model_copy(update={"device": platform.node(), "measured_at_s": time.time()})
