"""Tables, plots and live screens of the command line."""
