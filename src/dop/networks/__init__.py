"""Networks and teams of them."""
