"""Errors that are the user's to mend."""


class UserError(ValueError):
    """Bad input: a path, a file, a config value. The tools print its message without a traceback.

    The message names the file, index or config key, says what was found and what was expected.
    """
