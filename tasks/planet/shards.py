"""Geotagged photos in WebDataset shards: tar files of `key.jpg` beside `key.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.planet.photos import Photos
from tasks.planet.split import split_numbers
from tasks.planet.table import LIMITS, NAMES
from tasks.shared.data.shards import Beside, read_shard_index
from tasks.shared.errors import UserError
from tasks.shared.files.reading import parse_json
from tasks.shared.terminal.escaped import printable

FIELDS = ("lat", "lon", "user", "time")
COLUMNS = (("lat", pa.float64()), ("lon", pa.float64()), ("user", pa.string()), ("time", pa.string()))


def read_shards(
    root: Path,
    pattern: str,
    columns: Mapping[str, str | None] | None,
    split_by: str | None,
    cache: Path,
    on_corrupt: str,
) -> Photos:
    """The photos of the shards that `pattern` matches in `root`.

    Args:
        columns: What the json calls "lat", "lon", "user" and "time"; for None see `tasks.planet.table.NAMES`.
        split_by: "user" or "time", to read that too.
        cache, on_corrupt: see `read_shard_index`.

    Raises:
        UserError: There are no shards, all is broken, or with "error" any sample; names shards and keys.
    """
    shards = sorted(path for path in root.glob(pattern) if path.suffix == ".tar" or path.is_file())
    if not shards:
        raise UserError(
            f"data.root={printable(root)}: no file matches {pattern}; expected shards such as train-0000.tar"
        )
    names = {field: (columns or {}).get(field) for field in FIELDS}
    beside = Beside(("json",), lambda contents: _facts(contents["json"], names), COLUMNS, names)
    message = f"data.root={printable(root)}: the {len(shards)} shards that match {pattern}"
    images, table = read_shard_index(shards, message, beside, cache, on_corrupt)
    numbers = np.empty(0)
    if split_by:
        rows = (images.name(k) for k in range(len(table)))
        parts = (split_numbers(split_by, chunk.to_pylist(), rows) for chunk in table[split_by].chunks)
        numbers = np.concatenate(list(parts))
    return Photos(images, table["lat"].to_numpy(), table["lon"].to_numpy(), numbers)


def _facts(text: bytes, names: Mapping[str, str | None]) -> dict[str, Any]:
    """Place, user and time, as the index has them. Raises ValueError."""
    try:
        return _read_facts(parse_json(text), names)
    except ValueError as error:
        raise ValueError(f"its json cannot be used ({error})") from error


def _read_facts(content: Any, names: Mapping[str, str | None]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    known = {name.lower(): value for name, value in content.items()}
    found: dict[str, Any] = {}
    for field in FIELDS:
        wanted = names[field]
        if wanted is not None:
            found[field] = content.get(wanted)
        else:
            found[field] = next((known[name] for name in NAMES[field] if name in known), None)
    for field, limit in LIMITS.items():
        value = found[field]
        try:
            found[field] = float(value)
        except (TypeError, ValueError):
            found[field] = np.nan
        if not abs(found[field]) <= limit:
            raise ValueError(f"{field}={value!r}; expected degrees from -{limit} to {limit}")
    return found | {field: None if found[field] is None else str(found[field]) for field in ("user", "time")}
