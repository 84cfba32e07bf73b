"""Problem, plan and scenario files: JSON read and written."""
