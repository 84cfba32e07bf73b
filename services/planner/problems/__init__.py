"""From what is known to what is to be solved: the snapshot of the fleet, problems, policies, groups of streams."""
