"""Files: written whole or not at all, locked while a process works on them, and read within bounds; and archives."""

import errno
import functools
import hashlib
import io
import json
import math
import os
import secrets
import socket
import stat
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import fastjsonschema

try:
    import fcntl
except ImportError:  # Windows, where `lock` locks nothing
    fcntl = None  # type: ignore[assignment]

MAX_JSON_SIZE = 64 * 2**20  # bytes
MAX_JSON_DEPTH = 50


def check_folder_writable(folder: str | Path) -> None:
    """Raise OSError with one clear message unless new files can be made in folder.

    Called before long work whose result goes there. A file is really made and removed, since permission bits say
    little on network and read-only file systems.
    """
    folder = Path(folder)
    if not _exists(folder):
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
    target = _target(path)
    folder, missing = target.parent, [target.name]
    while not _exists(folder):
        folder, missing = folder.parent, [*missing, folder.name]
    for place in [*(folder / name for name in missing), target]:
        try:
            place.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise OSError(f"a name is too long: {place.name[:30]}... in {folder}: choose a shorter one") from error
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder, and a file is needed here: name a file in it")
    if target.is_symlink() or (target.exists() and not target.is_file()):
        raise OSError(f"{path} is not an ordinary file, and would be replaced by one: choose another")
    check_folder_writable(folder)


def _exists(path: Path) -> bool:
    """Path.exists, which raises for a name that is too long."""
    try:
        path.stat()
    except OSError:
        return False
    return True


def _target(path: str | Path) -> Path:
    """Where path leads: links are followed, and go on pointing there."""
    return Path(os.path.realpath(path))


def write_whole(path: str | Path, data: bytes) -> None:
    """Put data at path in one step, in a folder that is made if it is missing.

    What was there stays until the new file is on the disk, and keeps its mode.

    :raises OSError: with one clear message; then what was there is there still.
    """
    check_file_writable(path)
    target = _target(path)
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        _make_folder(target.parent)
        try:
            with temporary.open("xb") as file:
                if target.exists():
                    temporary.chmod(stat.S_IMODE(target.stat().st_mode))
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:  # Ctrl-C too must leave no half-written file
            with suppress(OSError):
                temporary.unlink()
            raise
        _flush_folder(target.parent)
    except OSError as error:
        raise OSError(f"cannot write {path} ({error.strerror or error})") from error


def _make_folder(folder: Path) -> None:
    """Make a folder, and those above it, if they are missing."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        _flush_folder(place.parent)


def _flush_folder(folder: Path) -> None:
    """Bring a folder's names to the disk. Some file systems cannot, and do so themselves."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL, errno.ENOTSUP):
            raise


_held: dict[Path, object] = {}  # the files that this process has locked


@contextmanager
def lock(path: str | Path) -> Iterator[None]:
    """Keep other processes, and this one, from working on a file at the same time.

    The lock is the kernel's, on a hidden file beside path. It ends with the process, however that ends. Its workers
    do not inherit it (as they would with `flock`): they may outlive it by seconds, and the next run must not wait.

    :raises BlockingIOError: at once, with a message that names the process which holds the lock.
    :raises OSError: if the file cannot be written.
    """
    check_file_writable(path)
    target, token = _target(path), object()
    if _held.setdefault(target, token) is not token:
        raise BlockingIOError(f"{path} is being written by this process already: choose another file")
    try:
        _make_folder(target.parent)
        lock_file = target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.lock")
        handle = _locked(lock_file, path)
        try:
            yield
        finally:
            with suppress(OSError):
                lock_file.unlink()
            os.close(handle)
    finally:
        del _held[target]


@contextmanager
def lock_outputs(*paths: str | Path) -> Iterator[None]:
    """Lock all files that a work will write.

    :raises ValueError: if two of them are one file. Otherwise as `lock`.
    """
    targets = [_target(path) for path in paths]
    for number, path in enumerate(paths):
        if targets[number] in targets[:number]:
            raise ValueError(f"{path} is named for two outputs: give each a file of its own")
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(lock(path))
        yield


def _locked(lock_file: Path, path: str | Path) -> int:
    """The descriptor of the lock file, locked by this process and named after it."""
    while True:
        handle = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = " ".join(os.pread(handle, 200, 0).decode(errors="replace").split())
                os.close(handle)
                raise BlockingIOError(
                    f"{path} is being written by {holder or 'another process'}: wait for it, or choose another file"
                ) from None
            # Otherwise this file system has no locks, and the work goes on without.
        with suppress(OSError):  # the last holder may have removed the file that was opened; then another is locked
            if os.path.samestat(os.fstat(handle), lock_file.stat()):
                with suppress(OSError):  # a full disk: then the holder has no name
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return handle
        os.close(handle)


def read_whole(path: str | Path, max_size: int) -> bytes:
    """A file's bytes.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is not an ordinary file, or larger than `max_size` bytes.
    """
    path = Path(path)
    if not _exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        data = file.read(max_size + 1)
    if len(data) > max_size:
        raise ValueError(f"{path} is larger than {max_size // 2**20} MiB")
    return data


def read_json(path: str | Path, schema: Mapping[str, Any]) -> Any:
    """What a JSON file holds, which must be as a JSON schema says.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is not JSON, too large or too deep, or not as the schema says; in one line.
    """
    return _checked_json(read_whole(path, MAX_JSON_SIZE), schema, path)


def write_json(path: str | Path, data: Any, schema: Mapping[str, Any]) -> None:
    """Write a JSON file that `read_json` reads.

    :raises ValueError: if it would not.
    """
    text = json.dumps(data).encode()
    _checked_json(text, schema, path)
    write_whole(path, text)


def _checked_json(text: bytes, schema: Mapping[str, Any], path: str | Path) -> Any:
    try:
        data = json.loads(text, parse_constant=_finite, parse_float=_finite)
        level = [data]
        for _ in range(MAX_JSON_DEPTH):
            level = [child for value in level for child in _children(value)]
        if level:
            raise ValueError(f"it is more than {MAX_JSON_DEPTH} levels deep")
        _validator(json.dumps(schema))(data)
    except (ValueError, RecursionError, fastjsonschema.JsonSchemaValueException) as error:
        message = "it is too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged, or of another kind: {message}") from None
    return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"it holds {text[:30]}, which is not a finite number")
    return number


def _children(value: Any) -> Collection[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


@functools.cache
def _validator(schema: str) -> Callable[[Any], Any]:
    """A schema's check. fastjsonschema's took 0.02 s for a sweep's 400 KB of records, and jsonschema's 0.7 s."""
    return fastjsonschema.compile(json.loads(schema), use_default=False)


def write_archive(path: str | Path, contents: Mapping[str, bytes], root: Path) -> None:
    """Write NAME.zip with the contents in the folder NAME: see `packed`."""
    write_whole(path, packed(Path(path).stem, contents, root))


def packed(folder: str, contents: Mapping[str, bytes], root: Path) -> bytes:
    """A zip archive. Its bytes depend only on names, contents and which are executable.

    :param folder: what all is in; empty for no folder.
    :param contents: what is in it, by name.
    :param root: a file that is executable there is so in the archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(contents):
            is_executable = (root / name).is_file() and (root / name).stat().st_mode & 0o100
            info = zipfile.ZipInfo(f"{folder}/{name}" if folder else name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # Unix, on every system, so that the mode is read
            info.external_attr = (0o100755 if is_executable else 0o100644) << 16
            archive.writestr(info, contents[name])
    return buffer.getvalue()
