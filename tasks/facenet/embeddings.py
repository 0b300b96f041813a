"""Embeddings of images, and the files that hold them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from torch import Tensor

from tasks.facenet.pairs import Floats
from tasks.shared.files.writing import whole_file

FORMATS = ("npz", "parquet")


class Embedding(NamedTuple):
    """A face as a point: vector (D,) float32. Squared L2 distances tell whether two show one person."""

    vector: Tensor


def save_embeddings(folder: Path, file_format: str, files: Sequence[str], **vectors: Floats) -> Path:
    """Write embeddings.npz, or embeddings.parquet (kind), of N images; returns its path.

    files: (N,). vectors: by name, (N, D). The npz has these arrays; the Parquet table the column `file` and a list of
    numbers for each name.
    """
    path = folder / f"embeddings.{file_format}"
    if file_format == "npz":
        with whole_file(path, "output") as part:
            np.savez(part, files=np.array(files, dtype=np.str_), **vectors)  # type: ignore[arg-type]
    else:
        columns: dict[str, pa.Array] = {"file": pa.array(files, pa.string())}
        for name, rows in vectors.items():
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
        table = pa.table(columns)
        with whole_file(path, "output") as part:
            pyarrow.parquet.write_table(table, part)
    return path
