"""Files, options, errors and operations that several commands share."""
