"""What updates are made of: replay, minibatches, optimisers, normalisation and dynamic-length scans."""
