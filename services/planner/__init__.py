"""Snapshot to problem to strategy to plan."""
