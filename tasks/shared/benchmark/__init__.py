"""Our speed against a named peer's."""
