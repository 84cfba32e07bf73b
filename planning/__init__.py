"""Problem, plan and cost prediction: pure."""
