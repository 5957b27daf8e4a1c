"""Adapters of environments that are not written in JAX: one file for each interface, found by the registry of `dop.envs`.

Each makes a `dop.types.HostEnvironment` out of an environment of another package. What they share is in the modules with a leading
underscore: `_team` (a team's step out of its agents'), `_spaces` (Gymnasium's spaces). Other packages are imported inside functions only.
"""
