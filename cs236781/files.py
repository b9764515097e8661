"""Files and archives written whole or not at all: under a temporary name beside their place, and then moved in."""

import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def check_folder_writable(folder: str | Path) -> None:
    """Raise OSError with one clear message unless new files can be made in folder.

    Called before long work whose result goes there. A file is really made and removed, since permission bits say
    little on network and read-only file systems.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"the folder {folder} does not exist: create it, or choose another")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, and a folder is needed here: choose another")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(f"cannot write in the folder {folder} ({error.strerror}): choose another") from error


def check_file_writable(path: str | Path) -> None:
    """Raise OSError with one clear message unless a file can be put at path. Its folder may be missing yet."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, and a file is needed here: name a file in it")
    folder = path.resolve().parent
    while not folder.exists():
        folder = folder.parent
    check_folder_writable(folder)


def write_whole(path: str | Path, data: bytes) -> None:
    """Put data at path in one step, in a folder that is made if it is missing.

    What was there stays until the new file is complete, and keeps its mode.
    """
    path = Path(path).resolve()  # a link keeps pointing where it does
    check_file_writable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else _new_file_mode()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:  # Ctrl-C too must leave no half-written file
        with suppress(OSError):
            Path(name).unlink()
        raise


def _new_file_mode() -> int:
    """The mode of a file created the ordinary way. The umask can only be read by setting it."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def write_archive(path: str | Path, contents: Mapping[str, bytes], root: Path) -> None:
    """Write NAME.zip with the contents in the folder NAME: see `packed`."""
    write_whole(path, packed(Path(path).stem, contents, root))


def packed(folder: str, contents: Mapping[str, bytes], root: Path) -> bytes:
    """A zip archive. Its bytes depend only on names, contents and which are executable.

    :param folder: what all is in.
    :param contents: what is in it, by name.
    :param root: a file that is executable there is so in the archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(contents):
            is_executable = (root / name).is_file() and (root / name).stat().st_mode & 0o100
            info = zipfile.ZipInfo(f"{folder}/{name}", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, on every system, so that the mode is read
            info.external_attr = (0o100755 if is_executable else 0o100644) << 16
            archive.writestr(info, contents[name])
    return buffer.getvalue()
