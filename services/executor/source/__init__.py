"""Streams that begin on this device: intake, journal, state machine of requests, and route switching."""
