"""Teams of agents, recurrent or feed-forward, with shared or separate parameters; and their greedy policies."""
