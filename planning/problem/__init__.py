"""Problems and plans as frozen data."""
