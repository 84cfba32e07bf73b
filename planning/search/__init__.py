"""What strategies search with: tables of costs, routes as arrays, exact and bounded searches over one stream."""
