"""From a config to a network, and what its weights start from."""
