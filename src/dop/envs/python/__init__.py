"""Adapters of Python environments: one file per interface, discovered by the registry of `dop.envs`.

Each turns an environment of another package into a `dop.types.PythonEnvironment`. Shared code is in the modules with a leading underscore:
`_team` (the team's step from its agents'), `_spaces` (Gymnasium's spaces), `_answers` (parsing numbers and masks), `_rewards` (rewards and
objectives), `_others` (agents outside of the team), `_recognise` (choosing the adapter), `_reseeded` (makers with a seed). Other packages
are imported inside functions only.
"""
