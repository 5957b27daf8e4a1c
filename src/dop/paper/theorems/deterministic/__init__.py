"""Deterministic DOP (Sec. 4.2, App. B and D): one file per statement, with continuous actions.

Theorem 4 uses actors and small networks with automatic differentiation (`teams`). Lemma 3 and Theorems 5 and 6 are about Q near one
joint action, where Q is a sum of sines (`waves`).
"""
