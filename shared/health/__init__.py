"""Health of a running service: what it is, how others on the machine ask for it, and what a supervisor is told."""
