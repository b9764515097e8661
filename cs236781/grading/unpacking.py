"""Unpacking an archive that was handed in and may be broken or hostile.

    unpack("hw4-1_2.zip", "somewhere")          -> "1_2"; the files are in somewhere/hw4-1_2/

The checker runs this file as a program, under limits: an archive can be made such that reading the list of its members
takes much time and memory. It needs only the standard library.
"""

import re
import stat
import sys
import zipfile
import zlib
from pathlib import Path, PurePosixPath

MAX_FILES = 5000
MAX_FILE_BYTES = 50_000_000  # as in prepare-submission
MAX_BYTES = 500_000_000  # of all files together
MAX_RATIO = 100  # of all files' bytes to the archive's; text shrinks to a tenth at best, zeros to a thousandth
_FREE_BYTES = 1_000_000  # an archive that holds less may have any ratio

REFUSED = 3  # the program's exit status for such an archive

FOLDER = re.compile(r"hw4-([A-Za-z0-9]+(?:_[A-Za-z0-9]+)*)")


class ArchiveError(ValueError):
    """An archive is broken, or not what prepare-submission makes. The message, one line, says why."""


def unpack(archive: str | Path, folder: str | Path) -> str:
    """Put an archive's files into a folder; returns the ids, joined as in the archive.

    :param archive: a zip file with all members under `hw4-ID_ID/`.
    :param folder: an existing, empty folder.
    :raises ArchiveError: it is no zip file, or damaged, encrypted or too large; or a member's name leads elsewhere, is
        not plain or comes twice; or a member is a link or special file. Members before a damaged one are unpacked.
    :raises OSError: the archive cannot be read, or the folder not be written to.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            members = opened.infolist()
            _check_size(members, archive.stat().st_size)
            ids = _check_names(members)
            left = MAX_BYTES
            for member in members:
                left -= _extract(opened, member, folder, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ArchiveError(f"not a complete zip file ({error})") from error
    return ids


def _check_size(members: list[zipfile.ZipInfo], archive_bytes: int) -> None:
    """Refuse by the sizes that the archive states. It may lie: _extract counts."""
    if not members:
        raise ArchiveError("it is empty")
    if len(members) > MAX_FILES:
        raise ArchiveError(f"it has {len(members)} files, and at most {MAX_FILES} are accepted")
    largest = max(members, key=lambda member: member.file_size)
    total = sum(member.file_size for member in members)
    if largest.file_size > MAX_FILE_BYTES:
        raise ArchiveError(f"{largest.filename!r} is larger than {MAX_FILE_BYTES / 1e6:g} MB")
    if total > MAX_BYTES:
        raise ArchiveError(f"its files together are larger than {MAX_BYTES / 1e6:g} MB")
    if total > max(_FREE_BYTES, MAX_RATIO * archive_bytes):
        ratio = f"{total / archive_bytes:.0f} times as large as the archive, and at most {MAX_RATIO} times"
        raise ArchiveError(f"its files are {ratio} are accepted")


def _check_names(members: list[zipfile.ZipInfo]) -> str:
    """Refuse members that are not plain files and folders under one hw4-ID_ID/; returns the ids."""
    seen: set[str] = set()
    tops: set[str] = set()
    for member in members:
        name = member.filename
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            what = "a link" if kind == stat.S_IFLNK else "a special file"
            raise ArchiveError(f"{name!r} is {what}, and only plain files are accepted")
        if member.flag_bits & 0x1:
            raise ArchiveError(f"{name!r} is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ArchiveError(f"{name!r} is not compressed by deflate")
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            raise ArchiveError(f"{name!r} is an absolute path")
        parts = name.removesuffix("/").split("/")
        if ".." in parts:
            raise ArchiveError(f"{name!r} leads out of the archive")
        plain = all(0 < len(part.encode()) <= 255 and part != "." for part in parts)
        if not plain or len(parts) > 30 or "\\" in name or not name.isprintable() or member.orig_filename != name:
            raise ArchiveError(f"{name!r} is not a plain name")
        path = "/".join(parts).casefold()
        if path in seen:
            raise ArchiveError(f"{name!r} comes twice")
        seen.add(path)
        tops.add(parts[0])
    matches = [FOLDER.fullmatch(top) for top in sorted(tops)]
    if len(matches) != 1 or matches[0] is None:
        found = ", ".join(repr(top) for top in sorted(tops)[:3])
        raise ArchiveError(f"its files are in {found}, and one folder hw4-ID_ID is expected")
    return matches[0][1]


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, limit: int) -> int:
    """Write a member, whose name is checked, below folder; returns its true number of bytes, at most limit."""
    target = folder / PurePosixPath(member.filename)
    try:
        if member.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    except (FileExistsError, NotADirectoryError) as error:
        raise ArchiveError(f"{member.filename!r} is both a file and a folder") from error
    written = 0
    with file, archive.open(member) as source:
        while chunk := source.read(1 << 20):
            written += len(chunk)
            if written > min(limit, MAX_FILE_BYTES):
                raise ArchiveError(f"{member.filename!r} holds more than it states")
            file.write(chunk)
    return written


def main(archive: str, folder: str) -> int:
    """Unpack, and print the ids or the reason; returns the exit status."""
    try:
        print(unpack(archive, folder))
    except ArchiveError as error:
        print(error)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
