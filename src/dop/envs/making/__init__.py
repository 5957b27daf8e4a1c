"""Making environments: options, seeds, code that is not the library's, and how messages name it."""
