"""Adapters of environments that are not written in JAX: one file for each interface, found by the registry of `dop.envs`.

Each makes a `dop.types.PythonEnvironment` out of an environment of another package. What they share is in the modules with a leading
underscore: `_team` (a team's step out of its agents'), `_spaces` (Gymnasium's spaces), `_answers` (numbers and masks of any form),
`_others` (agents that are not of the team), `_recognise` (which adapter an environment needs). Other packages are imported inside functions
only.
"""
