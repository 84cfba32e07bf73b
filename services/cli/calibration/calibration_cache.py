"""Calibrations stored on this machine, so that each model is measured once per set of photographs and codecs."""

import contextlib
import hashlib
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Final

from services.cli.calibration.measure import OnSample
from services.cli.calibration.model_calibration import calibrate_model
from services.cli.calibration.samples import sample_files
from shared.codecs import load_registry
from shared.messages.base import MessageError
from shared.messages.calibration import Calibration
from shared.messages.models import Manifest
from shared.user_folders import user_cache_folder

# Increased whenever the method of measuring changes, which makes stored calibrations invalid.
_VERSION: Final = 1


def cached_calibration(
    file: Path, manifest: Manifest, images: Path, folder: Path, *, on_sample: OnSample | None = None
) -> Calibration:
    """Return the stored calibration of a model's useful cuts; measure and store it if there is none.

    Args:
        file: the ONNX file.
        manifest: its description.
        images: folder with the calibration set.
        folder: where calibrations are stored.
        on_sample: called with the progress of measuring.

    Raises:
        InputError: the folder of images has no inputs of the model.
        ModelError: Segue cannot cut the model.
    """
    path = folder / f"{calibration_key(manifest, images)}.json"
    with contextlib.suppress(OSError, MessageError):
        return Calibration.decode(path.read_bytes())
    calibration = calibrate_model(file, manifest, images, only_useful=True, on_sample=on_sample)
    # Without a writable folder the calibration is still good for this run.
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(calibration.encode_json())
        partial.replace(path)
    return calibration


def calibration_key(manifest: Manifest, images: Path) -> str:
    """Return a digest of everything on which a calibration depends.

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


def calibrations_folder() -> Path:
    """Return the folder in which this user's calibrations are stored."""
    return user_cache_folder() / "calibrations"
