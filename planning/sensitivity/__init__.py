"""Sensitivity of plans: constraints that bind them, and bandwidths and loads at which another route takes over."""
