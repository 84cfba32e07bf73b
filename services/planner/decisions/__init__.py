"""Decisions about reroutes, their causes, and the ranges of bandwidth and load within which a plan stays the best."""
