"""Training: the compiled program, the trainer that calls it, callbacks, and checks before the start."""
