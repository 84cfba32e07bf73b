"""Where requests arise: intake, journal, the state machine that owes every request one outcome, and its reflex."""
