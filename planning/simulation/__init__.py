"""Simulation of a running plan: arrivals, changes, and the timeline of every request."""
