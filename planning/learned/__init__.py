"""Masud's learned partitioner: problems as arrays, and episodes that place block after block."""
