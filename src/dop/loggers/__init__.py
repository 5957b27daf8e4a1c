"""Loggers: where records go beside the run directory, and the progress display."""
