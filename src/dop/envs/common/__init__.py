"""Helpers of several environments: drawing, importing JaxMARL, simplex actions."""
