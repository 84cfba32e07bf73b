"""Published claims, computed again with this project's strategies, cost prediction and simulation."""
