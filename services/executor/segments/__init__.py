"""Models on this device: sessions of segments, their arithmetic, queue, profiles, and shadow checks."""
