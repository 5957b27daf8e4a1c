"""Teams of agents: one network for all, for each type, or for each agent; recurrent or feed-forward; and their greedy policies."""
