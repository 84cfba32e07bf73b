"""Exact tiles of segments: the rows that each node needs, and the graph that computes just those."""
