"""Configs of runs, as commands make them."""

from tasks.shared.config.compose import compose_config, plain, quote_paths
from tasks.shared.training.settings import RunConfig, run_of


def composed_run(*overrides: str) -> RunConfig:
    """Of tools/train.py with these overrides."""
    return run_of(plain(compose_config("train", quote_paths(list(overrides)))))
