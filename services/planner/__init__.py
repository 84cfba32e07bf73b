"""Planner service: snapshot of the fleet, problems, decisions, and the coordination of streams."""
