"""Coordination of the streams: events, the owners of the state that they change, epochs, and stored documents."""
