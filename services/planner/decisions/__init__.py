"""Whether a better plan is worth a reroute, why, and within which bandwidths and loads a plan stays the best."""
