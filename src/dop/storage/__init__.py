"""A run on disk: directory, records, checkpoints, snapshots, and the files themselves."""
