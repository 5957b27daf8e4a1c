"""Making environments: options, seeds, guards around foreign code, and how messages name it."""
