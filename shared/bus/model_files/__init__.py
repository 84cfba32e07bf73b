"""Model files over the bus: pieces, the transfer's machine, and the exchange around it."""
