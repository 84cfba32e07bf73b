"""What encodings of feature maps cost, and what they do to the answer: measured over a set of inputs."""

from services.cli.calibration.kept_calibration import SHIPPED, calibrate_model, calibrate_once, kept_calibrations
from services.cli.calibration.measure import MeasureSettings, measure
from services.cli.calibration.samples import SampleSet, read_samples, sample_kind

__all__ = [
    "SHIPPED",
    "MeasureSettings",
    "SampleSet",
    "calibrate_model",
    "calibrate_once",
    "kept_calibrations",
    "measure",
    "read_samples",
    "sample_kind",
]
