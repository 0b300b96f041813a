"""Which process this is. Imports nothing heavy."""

import os


def is_first_process() -> bool:
    """False in the processes that DDP starts beside the first."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0
