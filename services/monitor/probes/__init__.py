"""Sensors of the device, one file per measured quantity."""
