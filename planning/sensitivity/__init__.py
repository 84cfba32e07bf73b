"""What would change a decision: constraints that bind, and envelopes of bandwidth and load."""
