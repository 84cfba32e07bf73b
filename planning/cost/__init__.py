"""The cost model: latency, throughput, energy, memory and constraints of a plan."""
