"""Snapshot of the fleet, policies and groups of streams, and the planning problems built from them."""
