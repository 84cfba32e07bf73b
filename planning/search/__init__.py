"""Searches that strategies share: arrays of costs and routes, exact and bounded searches over one stream."""
