"""A model's calibration: measured for a set of photographs, once on this machine if it is kept."""

import contextlib
import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from services.cli.calibration.measure import MeasureSettings, OnSample, measure
from services.cli.calibration.samples import read_samples, sample_files
from services.executor.segments.coding import Coder
from shared.codecs import RAW, CodecRegistry, load_registry
from shared.messages.base import MessageError
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest
from shared.model.onnx_file import load_model
from shared.service_runtime import InputError

SHIPPED: Final = Path(__file__).parents[1] / "data" / "calibration"
"""The calibration set that ships."""
_VERSION: Final = 1
"""Counted up when the way of measuring changes, so that what is kept is measured again."""


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
        manifest: what it is, and how photographs become its input.
        images: folder with the calibration set.
        codecs: only these, and raw; all that are installed if empty.
        variants: inputs per photograph, see `read_samples`.
        only_useful: see `MeasureSettings`.
        on_sample: is told how far it is.

    Raises:
        InputError: there is no such codec, or the folder has no inputs of the model.
        ModelError: the file is no model that Segue can cut.
    """
    samples = read_samples(images, manifest, variants=variants)
    registry = load_registry()
    unknown = [name for name in codecs if name not in registry]
    if unknown:
        raise InputError(f"no codec is called {unknown[0]!r}; there are {', '.join(registry)}")
    chosen = CodecRegistry(registry[name] for name in registry if not codecs or name in (RAW, *codecs))
    model = load_model(file, input_shapes={spec.name: spec.shape for spec in manifest.inputs})
    settings = MeasureSettings(threads=os.cpu_count() or 1, only_useful=only_useful)
    measured = measure(model, samples, Coder(chosen, settings.engine), settings, on_sample=on_sample)
    return measured.model_copy(update={"device": platform.node(), "measured_at_s": time.time()})


def calibrate_once(
    file: Path, manifest: Manifest, images: Path, folder: Path, *, on_sample: OnSample | None = None
) -> Calibration:
    """Return the calibration of a model's useful cuts that is kept in `folder`; measure and keep it if there is none.

    Kept is what was measured with the same model, preprocessing, photographs and codecs on this machine.

    Raises:
        InputError: the folder of images has no inputs of the model.
        ModelError: the file is no model that Segue can cut.
    """
    path = folder / f"{calibration_key(manifest, images)}.json"
    with contextlib.suppress(OSError, MessageError):
        return Calibration.decode(path.read_bytes())
    calibration = calibrate_model(file, manifest, images, only_useful=True, on_sample=on_sample)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(calibration.encode_json())
        partial.replace(path)
    return calibration


def calibration_key(manifest: Manifest, images: Path) -> str:
    """Return what a calibration is kept under.

    Raises:
        InputError: the folder has no inputs of the model.
    """
    files = sample_files(images, manifest)
    document = {
        "version": _VERSION,
        "model": manifest.model,
        "preprocessing": manifest.preprocessing.model_dump(mode="json"),
        "images": [hashlib.sha256(file.read_bytes()).hexdigest() for file in files],
        "codecs": list(load_registry()),
        "machine": [platform.node(), platform.machine(), os.cpu_count()],
        "engine": metadata.version("onnxruntime"),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:32]


def kept_calibrations() -> Path:
    """Return where this user's calibrations are kept: the platform's folder for what can be made again."""
    if platform.system() == "Darwin":
        return Path.home() / "Library" / "Caches" / "segue" / "calibrations"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "segue" / "calibrations"
