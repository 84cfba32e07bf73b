"""Learned policies: Masud's partitioner block after block, and the splits of DistrEdge's volumes."""
