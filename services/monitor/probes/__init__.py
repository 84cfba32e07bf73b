"""One file per measured quantity."""
