"""How the learned partitioner sees a problem, and how it is trained."""
