"""Messages of the bus, one module per subject. They are validated when they are decoded and frozen afterwards."""
