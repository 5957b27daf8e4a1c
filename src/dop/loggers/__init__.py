"""Loggers: destinations of records, and the progress display."""
