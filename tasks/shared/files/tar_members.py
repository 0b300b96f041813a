"""The members of a tar file, one by one, by headers that are checked before they are followed."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

HEADER = 1 << 16  # bytes of a name, or of other facts, in a header of their own
HEADERS = 16  # such headers before one member
PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
ABOUT = (*PAX, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class Member(tarfile.TarInfo):
    """A member whose header says nothing that the file cannot hold. tarfile believes headers: it would read a name of
    gigabytes, go back by a negative size and never end, or look for the rest of a list that is not there."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a header with a negative size")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse member, whose bytes do not lie in one piece")
        if self.type in ABOUT:
            self._check_about(tar)
        else:
            tar.headers_before = 0  # type: ignore[attr-defined]
        return super()._proc_member(tar)  # type: ignore[misc]

    def _check_about(self, tar: tarfile.TarFile) -> None:
        tar.headers_before = getattr(tar, "headers_before", 0) + 1  # type: ignore[attr-defined]
        if self.type == tarfile.XGLTYPE:
            tar.shared_facts = getattr(tar, "shared_facts", 0) + self.size  # type: ignore[attr-defined]
        shared = getattr(tar, "shared_facts", 0)
        if self.size > HEADER or shared > HEADER or tar.headers_before > HEADERS:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"headers of more than {HEADER:,} bytes, or more than {HEADERS} in a row")
        file = tar.fileobj
        assert file is not None
        start = file.tell()
        content = file.read(self.size)
        file.seek(start)
        if self.type in PAX:
            _check_records(content)
        if b"GNU.sparse" in content:
            raise tarfile.ReadError("a sparse member, whose bytes do not lie in one piece")


def _check_records(content: bytes) -> None:
    """`LENGTH KEY=VALUE` lines, as long as they say: tarfile's own search takes very long in what is none."""
    position = 0
    while position < len(content) and content[position]:
        length, space, _ = content[position : position + 8].partition(b" ")
        if not space or not length.isdigit() or int(length) < 5 or content[position + int(length) - 1 :][:1] != b"\n":
            raise tarfile.ReadError("a header that is nonsense")
        position += int(length)


def members_of(tar: tarfile.TarFile, file: Path) -> Iterator[tarfile.TarInfo]:
    """Each member, none of which is kept. tar: opened with tarinfo=Member. Raises TarError for those that lie."""
    size, before = file.stat().st_size, -1
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]
        if member.isreg() and member.offset_data + member.size > size:
            raise tarfile.ReadError(f"{member.name[:100]!r} is longer than the file")
        if member.size < 0 or tar.offset <= before:
            raise tarfile.ReadError("a header that leads back")
        before = tar.offset
        yield member
