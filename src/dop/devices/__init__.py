"""Compute resources of a run: CPU threads, devices for its seeds, and the process's memory."""
