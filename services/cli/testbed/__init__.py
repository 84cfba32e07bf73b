"""The testbed of `segue demo` and `segue up`: a whole fleet on this machine, with disturbances and a summary."""
