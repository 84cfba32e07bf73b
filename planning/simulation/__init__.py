"""Event-driven simulation of a plan."""
