"""What several environments share: drawing, JaxMARL's import, games on the simplex."""
