"""What several processes found out about their images, brought together."""

from typing import Any

import numpy as np
import torch.distributed as dist


def gathered(indices: list[int], *columns: list[Any]) -> list[list[Any]]:
    """Under DDP: `indices` and `columns` of the images of all processes, by index; otherwise as they are.

    indices: of the images in the data, so that figures and files are the same whatever process had which. columns:
    lists as long, or empty in all processes.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [indices, *columns]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (indices, *columns))
    joined = [[x for part in parts for x in part[k]] for k in range(1 + len(columns))]
    order = np.argsort(np.array(joined[0], np.int64), kind="stable").tolist()
    return [[column[k] for k in order] if column else [] for column in joined]
