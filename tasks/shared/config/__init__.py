"""Composing configs, and what a config may ask for."""
