"""Models on this device: segments and their states, the compute thread, encoding, profiles, and shadow checks."""
