"""What several algorithms share, and what one from outside must have."""
