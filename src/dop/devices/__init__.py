"""What a run computes on: CPU threads, devices for its seeds, and the process's memory."""
