"""Planning library: problems, costs, simulation, and the strategies that solve problems.

It is pure: no package here has a clock of its own, or uses the network or asyncio. Each package imports only those
below it:

- `sensitivity`: constraints, bandwidths and loads that would change a decision
- `strategies`: one published algorithm per module
- `scheduling` and `learned`: bursts and shared servers; a learned policy
- `search`: exact and bounded searches for routes
- `files`: problems, plans and scenarios as JSON
- `simulation`: the timeline of a running plan
- `cost`: the cost model, the objectives and the constraints
- `tiles`: stages that are split into tiles of rows
- `queueing`: operations, the queues of devices, and completion times
- `problem`: problems and plans as frozen data
"""
