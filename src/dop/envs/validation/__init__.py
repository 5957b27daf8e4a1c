"""Validation of an environment: random play compared with its `EnvSpec`; `dop check-env` prints the result."""
