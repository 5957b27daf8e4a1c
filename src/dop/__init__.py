"""Decomposed off-policy policy gradients for teams of agents (Wang et al.), in JAX from the environment to the gradient."""

__version__ = "0.1.0"
