"""Feature maps between devices over the broker, on real and on emulated links."""
