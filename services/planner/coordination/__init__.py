"""What every stream runs and is about to run: epochs, records, what follows from answers, what outlives the planner."""
