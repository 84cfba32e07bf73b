"""Errors of the collector.

CollectorError
├── NoRecords           the database to read does not exist, or is unreadable
└── StoreUnavailable    the database cannot be written now (a full disk, for example); the batch is tried again
"""


class CollectorError(Exception):
    """Root of the collector's errors."""


class NoRecords(CollectorError):
    """The database does not exist, or is unreadable."""


class StoreUnavailable(CollectorError):
    """The database cannot be written now."""
