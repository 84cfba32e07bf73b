"""Jobs in order: bursts on two machines and more, tasks on a shared server, mixes of routes and their bounds."""
