"""Rollouts in Python environments: worker processes and Ray actors step them, the policy acts on the device."""
