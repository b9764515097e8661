"""Unpacking an archive that was handed in and may be broken or hostile, and the rule for what may be handed in.

    unpack("hw4-1_2.zip", "somewhere")          -> "1_2"; the files are in somewhere/hw4-1_2/
    check(opened, size)                         -> "1_2"; prepare-submission asks this about what it packs

The checker runs this file as a program, under limits: an archive can be made such that reading the list of its members
takes much time and memory. It needs only the standard library.
"""

import errno
import re
import stat
import sys
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

MAX_FILES = 5000
MAX_DEPTH = 30  # folders and the file in them
MAX_NAME_BYTES = 1000  # with the folders; a system that takes 4096 has room for the folder it is unpacked into
MAX_FILE_BYTES = 50_000_000
MAX_BYTES = 500_000_000  # of all files together
MAX_RATIO = 100  # of all files' bytes to the archive's; text shrinks to a tenth at best, zeros to a thousandth
_FREE_BYTES = 1_000_000  # an archive that holds less may have any ratio

REFUSED = 3  # the program's exit status for such an archive

FOLDER = re.compile(r"hw4-([A-Za-z0-9]+(?:_[A-Za-z0-9]+)*)")


_WINDOWS = 0  # the system that made a member
# What macOS adds to the archives that it makes.
_PASSED_OVER = re.compile(r"(.*/)?(__MACOSX(/.*)?|\.DS_Store|\._[^/]*)", re.DOTALL)
# Control characters, halves of characters, line ends. Spaces of any kind, as in macOS's screenshots, are plain.
_NOT_PLAIN = {"Cc", "Cs", "Zl", "Zp"}


class ArchiveError(ValueError):
    """An archive is broken, or not what prepare-submission makes. The message, one line, says why."""


def unpack(archive: str | Path, folder: str | Path) -> str:
    """Put an archive's files into a folder; returns the ids, joined as in the archive.

    :param archive: a zip file with all members under `hw4-ID_ID/`; what macOS adds beside it is passed over.
    :param folder: an existing, empty folder.
    :raises ArchiveError: `check` refuses it, or it is no zip file, or damaged. Members before a damaged one are
        unpacked.
    :raises OSError: the archive cannot be read, or the folder not be written to.
    """
    folder = Path(folder)
    try:
        with zipfile.ZipFile(archive) as opened:
            ids = check(opened, Path(archive).stat().st_size)
            left = MAX_BYTES
            for member in _members(opened):
                left -= _extract(opened, member, folder, left)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise ArchiveError(f"not a complete zip file ({error})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a member that would begin before the file
            raise
        raise ArchiveError("not a complete zip file (its members are elsewhere)") from error
    return ids


def check(archive: zipfile.ZipFile, size: int) -> str:
    """Decide by an archive's list of members whether it is accepted; returns the ids.

    :param size: of the archive, in bytes.
    :raises ArchiveError: it is too large; or a member is encrypted, a link or a special file; or for its name.
    """
    members = _members(archive)
    check_sizes({member.filename: member.file_size for member in members})
    total = sum(member.file_size for member in members)
    if total > max(_FREE_BYTES, MAX_RATIO * size):
        ratio = f"{total / size:.0f} times as large as the archive, and at most {MAX_RATIO} times"
        raise ArchiveError(f"its files are {ratio} are accepted")
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
        if "\0" in member.orig_filename:
            raise ArchiveError(f"{name!r} is not a plain name")
    return check_names(member.filename for member in members)


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that count. Windows' PowerShell puts backslashes between folders."""
    members = archive.infolist()
    for member in members:
        if member.orig_filename == member.filename and member.create_system == _WINDOWS:
            member.filename = member.filename.replace("\\", "/")
    return [member for member in members if not _PASSED_OVER.fullmatch(member.filename)]


def check_sizes(sizes: Mapping[str, int]) -> None:
    """Refuse members, by name, for their number and the sizes that are stated. An archive may lie: unpacking counts.

    :raises ArchiveError: there are none or too many, or one or all together are too large.
    """
    if not sizes:
        raise ArchiveError("it is empty")
    files = sum(not name.endswith("/") for name in sizes)
    if max(files, len(sizes) - files) > MAX_FILES:
        raise ArchiveError(f"it has {len(sizes)} files and folders, and at most {MAX_FILES} of each are accepted")
    largest = max(sizes, key=sizes.__getitem__)
    if sizes[largest] > MAX_FILE_BYTES:
        raise ArchiveError(
            f"{largest!r} has {sizes[largest] / 1e6:.1f} MB, and a file may have at most {MAX_FILE_BYTES / 1e6:g}"
        )
    if sum(sizes.values()) > MAX_BYTES:
        raise ArchiveError(f"its files together are larger than {MAX_BYTES / 1e6:g} MB")


def check_names(names: Iterable[str]) -> str:
    """Refuse names, of folders with a slash at the end, that are not plain ones under one hw4-ID_ID/; returns the ids.

    :raises ArchiveError: a name leads elsewhere, is not plain, or is another's on a system that takes capitals and
        small letters for the same, as Windows and macOS do.
    """
    files: dict[str, str] = {}
    folders: set[str] = set()
    tops: set[str] = set()
    for name in names:
        _check_name(name)
        parts = name.removesuffix("/").split("/")
        keys = [_key("/".join(parts[:end])) for end in range(1, len(parts) + 1)]
        tops.add(parts[0])
        folders.update(keys if name.endswith("/") else keys[:-1])
        if name.endswith("/"):
            continue
        if other := files.get(keys[-1]):
            raise ArchiveError(f"{name!r} comes twice" + (f", also as {other!r}" if other != name else ""))
        files[keys[-1]] = name
    if both := files.keys() & folders:
        raise ArchiveError(f"{files[min(both)]!r} is both a file and a folder")
    matches = [FOLDER.fullmatch(top) for top in sorted(tops)]
    if len(matches) != 1 or matches[0] is None:
        found = ", ".join(repr(top) for top in sorted(tops)[:3])
        raise ArchiveError(f"it must hold one folder, hw4-ID or hw4-ID_ID, as prepare-submission makes it, not {found}")
    return matches[0][1]


def _key(name: str) -> str:
    """What names that some system takes for the same have in common."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _check_name(name: str) -> None:
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise ArchiveError(f"{name!r} is an absolute path")
    parts = name.removesuffix("/").split("/")
    if ".." in parts:
        raise ArchiveError(f"{name!r} leads out of the archive")
    if len(parts) > MAX_DEPTH:
        raise ArchiveError(f"{name[:200]!r} is more than {MAX_DEPTH} folders deep")
    plain = "\\" not in name and not any(unicodedata.category(character) in _NOT_PLAIN for character in name)
    if not plain or any(part in ("", ".") for part in parts):
        raise ArchiveError(f"{name[:200]!r} is not a plain name")
    encoded = name.encode()
    if len(encoded) > MAX_NAME_BYTES or any(len(part) > 255 for part in encoded.split(b"/")):
        raise ArchiveError(f"{name[:200]!r} is too long a name")


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
