"""Problem, plan and scenario files as JSON."""
