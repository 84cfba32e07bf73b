"""What every service speaks: model, messages, plan and bus. Imports nothing above it."""
