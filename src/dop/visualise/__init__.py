"""Figures: learning curves, films, credit figures and the report."""
