"""Readers of published weights, one file format each. `backbone.weights` picks the one that a file needs."""
