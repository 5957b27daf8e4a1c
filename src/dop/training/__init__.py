"""Training: the compiled program, the trainer that calls it, callbacks, and what is checked before it starts."""
