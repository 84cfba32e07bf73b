"""Stages that are split into tiles of rows."""
