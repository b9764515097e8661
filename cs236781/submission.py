"""The archive a student hands in: the notebooks, run and exported, with the code and the results.

    prepare_submission(["123456789", "987654321"], out_dir=".")        -> hw4-123456789_987654321.zip

The same files give the same bytes. A submission that fails leaves the notebooks and an earlier archive as they were.
"""

import io
import re
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from cs236781 import unpacking
from cs236781.files import check_file_writable, check_folder_writable, packed, write_whole
from cs236781.html_export import export_html
from cs236781.jupyter_utils import run_notebook
from cs236781.notebook_files import read_notebook

PROJECT = Path(__file__).resolve().parents[1]

MAX_IDS = 200

# Not handed in, at any depth; nor is what is hidden.
_LEFT_OUT_FOLDERS = {
    "__pycache__",
    "checkpoints",
    "out",
    "dist",
    "build",
    "venv",
    "env",
    "node_modules",
    "__MACOSX",
}
_LEFT_OUT_FILES = re.compile(r".*\.(pyc|pyo|tmp|bak)|.*~|hw4-[^/]*\.zip", re.IGNORECASE)


def prepare_submission(
    ids: Sequence[str],
    *,
    root: str | Path = PROJECT,
    out_dir: str | Path = ".",
    skip_run: bool = False,
    allow_errors: bool = False,
    timeout: float | None = None,
) -> Path:
    """Run the project's notebooks, export them as one page and pack the archive; returns the archive's path.

    :param ids: one identifier for each student, in the order of the archive's name.
    :param root: the project; every PartN_*.ipynb in it is run, in the order of N.
    :param out_dir: the folder the archive goes into.
    :param skip_run: do not run the notebooks; export the outputs they hold.
    :param allow_errors: go on after a cell that fails; its error is among the outputs.
    :param timeout: seconds a single cell may take; no limit by default.
    :raises ValueError, TypeError: an id is no plain identifier, or given twice; check-submission would refuse a file
        for its size or name; a link leads out of the project (said before anything runs).
    :raises OSError: there is no notebook, or out_dir cannot be written to (said before anything runs).
    :raises NotebookError: a notebook cannot be read, or a cell failed.
    """
    name = _archive_name(ids)
    root, out_dir = Path(root).resolve(), Path(out_dir)
    target = out_dir / f"{name}.zip"
    check_folder_writable(out_dir)
    check_file_writable(target)
    notebooks = find_notebooks(root)
    missing = {path: _runs_missing(path) for path in notebooks}  # a damaged one is named before another runs
    page_name = f"{name}.html"
    _check({f"{name}/{member}": path.stat().st_size for member, path in _members(root).items()})
    _packed(name, _contents(root) | {page_name: b""}, root)

    with tempfile.TemporaryDirectory(prefix="hw4-") as scratch:
        finished = {path: path if skip_run else Path(scratch) / path.name for path in notebooks}
        for path, result in finished.items():
            if skip_run:
                print(f"{path.name}: not run; its outputs are used as they are{missing[path]}")
            else:
                run_notebook(path, out=result, working_dir=root, allow_errors=allow_errors, timeout=timeout)
        page = export_html(finished.values(), Path(scratch) / page_name, base=root)

        # listed again: running the notebooks may have made results
        contents = _contents(root) | {path.name: result.read_bytes() for path, result in finished.items()}
        contents[page_name] = page.read_bytes()

    write_whole(target, _packed(name, contents, root))
    if not skip_run:
        for path in notebooks:
            write_whole(path, contents[path.name])
    print(_summary(target, contents))
    return target


def find_notebooks(root: str | Path) -> list[Path]:
    """The project's PartN_*.ipynb in the order of N; FileNotFoundError if there is none."""
    numbers = {
        path: int(match[1])
        for path in sorted(Path(root).iterdir())
        if (match := re.fullmatch(r"Part(\d+)_.*\.ipynb", path.name)) and path.is_file() and not path.is_symlink()
    }
    if not numbers:
        raise FileNotFoundError(f"there is no notebook PartN_*.ipynb in {root}")
    return sorted(numbers, key=numbers.__getitem__)


def handed_in_files(root: Path) -> list[Path]:
    """The files of a project that go into the archive, sorted by name.

    Left out: what is hidden, caches, environments, checkpoints, build products, earlier archives, and links that lead
    to any of these, to a folder or nowhere. A link to a file that does go in is packed as that file's content.

    :raises ValueError: a link leads out of the project. Without it, its file would be missed only when the archive is
        opened.
    """
    root = root.resolve()
    return sorted(_walk(root), key=lambda path: path.relative_to(root).as_posix())


def _walk(root: Path) -> Iterator[Path]:
    folders = [root]
    while folders:
        yield from _files_in(folders.pop(), root, folders)


def _files_in(folder: Path, root: Path, folders: list[Path]) -> Iterator[Path]:
    """The files of a folder that are handed in; its folders are added to the list."""
    for path in folder.iterdir():
        if _left_out(path):
            continue
        if path.is_symlink():
            target = path.resolve()
            if not target.is_relative_to(root):
                raise ValueError(
                    f"{path.relative_to(root)} is a link that leads out of the project, to {target}: "
                    "put a copy in its place, or remove it"
                )
            within = [place for place in (target, *target.parents) if place != root and place.is_relative_to(root)]
            if target.is_file() and not any(map(_left_out, within)):
                yield path
        elif path.is_dir():
            folders.append(path)
        elif path.is_file():  # no sockets, pipes or devices
            yield path


def _left_out(path: Path) -> bool:
    """Whether a file or folder stays out by its own name, or by what it is."""
    if path.name.startswith("."):
        return True
    if path.is_dir():
        environment = (path / "pyvenv.cfg").exists() or (path / "conda-meta").exists()
        return environment or path.name in _LEFT_OUT_FOLDERS or path.name.endswith(".egg-info")
    return _LEFT_OUT_FILES.fullmatch(path.name) is not None


def _archive_name(ids: Sequence[str]) -> str:
    if isinstance(ids, str):
        raise TypeError(f"ids is a list of identifiers, not the single string {ids!r}: write [{ids!r}]")
    if not ids:
        raise ValueError("no id was given: give one for each student")
    for student, count in Counter(ids).items():
        if not isinstance(student, str):
            raise TypeError(f"an id is a string, not {student!r}")
        if not re.fullmatch(r"[A-Za-z0-9]+", student):
            raise ValueError(f"the id {student!r} is not a plain identifier: it may hold letters and digits only")
        if count > 1:
            raise ValueError(f"the id {student} was given twice: give each once")
    if len("_".join(ids)) > MAX_IDS:
        raise ValueError(f"the ids have more than {MAX_IDS} letters and digits together: they become a file's name")
    return f"hw4-{'_'.join(ids)}"


def _members(root: Path) -> dict[str, Path]:
    return {path.relative_to(root).as_posix(): path for path in handed_in_files(root)}


def _contents(root: Path) -> dict[str, bytes]:
    return {member: path.read_bytes() for member, path in _members(root).items()}


def _packed(name: str, contents: Mapping[str, bytes], root: Path) -> bytes:
    """The archive.

    :raises ValueError: check-submission would refuse it.
    """
    _check({f"{name}/{member}": len(data) for member, data in contents.items()})
    data = packed(name, contents, root)
    with _advice(), zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacking.check(archive, len(data))
    return data


def _check(sizes: Mapping[str, int]) -> None:
    with _advice():
        unpacking.check_sizes(sizes)
        unpacking.check_names(sizes)


@contextmanager
def _advice() -> Iterator[None]:
    """Say what can be done about what check-submission refuses."""
    try:
        yield
    except unpacking.ArchiveError as error:
        advice = "rename it, make it smaller, or move it out of the project"
        raise ValueError(f"check-submission would refuse this: {error}: {advice}") from error


def _runs_missing(path: Path) -> str:
    cells = [cell for cell in read_notebook(path).cells if cell.cell_type == "code"]
    not_run = [cell for cell in cells if cell.source.strip() and cell.execution_count is None]
    return f" ({len(not_run)} of its {len(cells)} code cells were never run)" if not_run else ""


def _summary(target: Path, contents: Mapping[str, bytes]) -> str:
    """What went in, by top-level file or folder, with sizes."""
    sizes: dict[str, list[int]] = {}
    for member, data in sorted(contents.items()):
        sizes.setdefault(member.partition("/")[0], []).append(len(data))
    lines = [f"{sum(size) / 1e6:9.3f} MB  {len(size):5} files  {top}" for top, size in sizes.items()]
    return "\n".join([f"{target}: {len(contents)} files, {target.stat().st_size / 1e6:.2f} MB", *lines])
