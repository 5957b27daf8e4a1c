"""Adapters of Python environments: one file per interface, discovered by the registry of `dop.envs`.

Each turns an environment of another package into a `dop.types.PythonEnvironment`. Shared code is in `base`: `adapted_team` (one step of the
team), `agent_spaces` (Gymnasium's spaces), `answer_checks` (parsing numbers and masks), `team_rewards` (rewards and objectives), `others`
team), `agent_spaces` (spaces), `answer_checks` (parsing numbers and masks), `team_rewards` (rewards and objectives), `others`
only.
"""
