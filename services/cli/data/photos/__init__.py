"""Photographs that may be used freely (see NOTICE)."""
