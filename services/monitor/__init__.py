"""Samples its device and its links."""
