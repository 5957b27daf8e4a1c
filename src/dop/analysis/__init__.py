"""Analysis of runs: statistics, comparisons, other libraries' results, greedy episodes and per-agent credit."""
