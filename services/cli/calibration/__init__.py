"""Measurement of encodings of feature maps: their sizes, their times, and their effect on the model's output."""

from services.cli.calibration.calibration_cache import cached_calibration, calibrations_folder
from services.cli.calibration.measure import MeasureSettings, measure
from services.cli.calibration.model_calibration import calibrate_model
from services.cli.calibration.samples import SampleSet, calibration_images, read_samples

__all__ = [
    "MeasureSettings",
    "SampleSet",
    "cached_calibration",
    "calibrate_model",
    "calibration_images",
    "calibrations_folder",
    "measure",
    "read_samples",
]
