"""Components of updates: replay, minibatches, optimisers, normalisation and dynamic-length scans."""
