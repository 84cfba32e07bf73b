"""The segue command."""
