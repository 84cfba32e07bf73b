"""Schedules of several jobs: flow shops, tasks on a shared server, mixes of routes, and bounds of all of them."""
