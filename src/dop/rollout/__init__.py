"""Rollouts in Python environments: worker processes or Ray actors step them, the policy acts on the device."""
