"""The calibration set: photographs, sources in NOTICE."""
