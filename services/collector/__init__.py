"""Gathers results, traces and events."""
