"""Stochastic DOP (Sec. 4.1, App. A and C): one file per statement, on small tables that are enumerated in full.

The notation is that of `tabular`: s is the paper's tau, and expectations are sums over all joint actions.
"""
