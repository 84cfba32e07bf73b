"""Holds models, runs segments, passes feature maps on."""
