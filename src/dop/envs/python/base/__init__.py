"""What the adapters have in common: options, spaces, rewards, time limits, other agents, pictures, and the team itself."""
