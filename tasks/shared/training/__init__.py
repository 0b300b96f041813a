"""Training a network and scoring it."""
