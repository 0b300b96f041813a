"""Files of torch.save, checked before torch reads them: the zip archive, its checksums, its pickle."""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from backbone.sources.torch_pickle import Damaged, Refused, scan_pickle

EXPECTED = "expected tensors by name, as torch.save(net.state_dict(), file) writes them"
MOST = 64 << 20  # bytes of plain data beside the tensors
PICKLE = 16 << 20  # bytes, and a 64th of the file
MEMBERS = 1 << 16  # as many tensors: of the largest networks a tenth
BLOCK = 1 << 20
END, END_64, PLACE_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"


def load_archive(path: Path) -> Any:
    """What torch.save has written to `path`: tensors on the CPU and plain data. Nothing in the file is executed.

    Before torch looks at the file, all checksums are compared and the pickle is gone through: what it makes takes no
    more memory than the file and 64 MB, copied without sharing too; every tensor lies in its storage.
    Raises ValueError naming the file, in one line, for anything else.
    """
    if not path.is_file():
        raise ValueError(f"{path}: {'no such file' if not path.exists() else 'not a regular file'}; {EXPECTED}")
    try:
        with path.open("rb") as file:  # one file for check and reading; by its name, torch would judge by the suffix
            _check(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except Refused as error:
        raise ValueError(
            f"{path}: refused, as nothing in a weight file is ever executed ({error}); {EXPECTED}"
        ) from error
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror or _first_line(error)})") from error
    except (MemoryError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, or larger than memory ({type(error).__name__})") from error
    except (Damaged, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: damaged or truncated PyTorch file ({_first_line(error)})") from error
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        # Of what passes the check; torch's own words would advise to read the file without its protection.
        raise ValueError(f"{path}: damaged PyTorch file (torch finds {type(error).__name__})") from error


def _check(file: BinaryIO) -> None:
    size = file.seek(0, 2)
    file.seek(0)
    start = file.read(4)
    if not size:
        raise Damaged("it is empty")
    if start[:1] == b"\x80":
        raise Refused("it is a bare pickle, as torch before 1.6 wrote it; load and save it with torch of today")
    if start != b"PK\x03\x04":
        raise Damaged("it is no zip archive")
    _check_end(file, size)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if len({name.lower() for name in names}) < len(names):
            raise Damaged("it holds two members of one name")
        if any(m.compress_type != zipfile.ZIP_STORED or m.compress_size != m.file_size for m in members):
            raise Damaged("its members are compressed")
        if sum(member.file_size for member in members) > size:
            raise Damaged("its members are longer than the file")
        root = names[0].partition("/")[0]
        if f"{root}/data.pkl" not in names:
            raise Damaged("it is a zip archive, but none of torch.save")
        if f"{root}/constants.pkl" in names:
            raise Refused("it is a TorchScript program")
        for member in members:
            _check_sum(archive, member)
        head = f"{root}/data/"
        records = {m.filename.removeprefix(head): m.file_size for m in members if m.filename.startswith(head)}
        described = archive.getinfo(f"{root}/data.pkl")
        if described.file_size > (most := PICKLE + size // 64):
            raise Damaged(f"its pickle has {described.file_size:,} bytes; expected no more than {most:,}")
        scan_pickle(archive.read(described), records, MOST + 2 * size)


def _check_end(file: BinaryIO, size: int) -> None:
    """That the list of members lies where torch and zipfile both look for it, and is as long as the file says."""
    file.seek(max(size - 22 - 20 - 56, 0))
    tail = file.read()
    end = tail[-22:]
    if end[:4] != END or end[20:] != b"\0\0":
        raise Damaged("it does not end as a zip archive does")
    count, length, first = (int.from_bytes(end[a:b], "little") for a, b in ((10, 12), (12, 16), (16, 20)))
    position = size - 22
    if tail[-42:-38] == PLACE_64:
        record = tail[-98:-42]
        if len(record) < 56 or record[:4] != END_64:
            raise Damaged("its list of members is nonsense")
        count, length, first = (int.from_bytes(record[a : a + 8], "little") for a in (32, 40, 48))
        position = size - 98
    if first + length != position or count > MEMBERS or count == 0:
        raise Damaged("its list of members is nonsense")


def _check_sum(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    with archive.open(member) as content:
        while content.read(BLOCK):
            pass


def _first_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:200] or type(error).__name__
