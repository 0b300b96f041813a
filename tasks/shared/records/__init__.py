"""What a run leaves: checkpoints, metrics, curves."""
