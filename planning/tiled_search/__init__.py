"""Search of plans with stages that are split into tiles."""
