"""Tables over all networks: how they are made, opened, and what is computed from them."""
