"""Neural networks as data: graphs, blocks, cuts, segments and reference architectures."""
