"""Stochastic DOP (Sec. 4.1, App. A and C): one file per statement, on small tabular problems, by full enumeration.

Notation as in `tabular`: s is the paper's tau, and expectations are sums over all joint actions.
"""
