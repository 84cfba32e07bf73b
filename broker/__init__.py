"""The embedded broker, and the configuration of real ones."""
