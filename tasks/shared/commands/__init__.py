"""From a tool's overrides to what it does."""
