"""A whole fleet on this machine: described, started, disturbed, watched, summed up."""
