"""What can go wrong in a collector.

CollectorError
├── NoRecords           there is no database to read: no collector has run here
└── StoreUnavailable    the database cannot be written now (disk full, say); what waits is kept and tried again
"""


class CollectorError(Exception):
    """The root of the collector's errors."""


class NoRecords(CollectorError):
    """There is no database, or none that can be read."""


class StoreUnavailable(CollectorError):
    """The database cannot be written now."""
