"""What checking found, kept: an archive that has not changed is not checked again.

    cache = Cache("cache", digest(project, limits))
    key = cache.key(archive)
    submission = cache.get(key, archive)            # None: check it
    cache.put(key, submission, keep=True)

A key is made of the archive's bytes and name, and of all else that decides a verdict: the checker's code, the tests,
the reference, Python and its packages, the limits. An entry is a file of its own, named after its key. Old entries stay
until the folder is removed, which may be done at any time.
"""

import hashlib
import sys
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cs236781.files import check_file_writable, read_json, write_json
from cs236781.grading.similarity import MAX_FINGERPRINTS
from cs236781.grading.verdicts import Submission

DECISIVE = ("cs236781", "hw4", "tests", "main.py", "pyproject.toml")  # of the project

_TEXT = {"type": "string", "maxLength": 1_000_000}
_TEXTS = {"type": "array", "maxItems": 1000, "items": _TEXT}
_COUNT = {"type": "integer", "minimum": 0}


def _fields(**fields: Any) -> dict[str, Any]:
    """The schema of an object that has these fields and no other."""
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _named(values: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with any names."""
    return {"type": "object", "maxProperties": 1000, "additionalProperties": values}


_FINDING = _fields(name=_TEXT, passed={"type": "boolean"}, asked=_TEXT, expected=_TEXT, got=_TEXT, hint=_TEXT)
_EXERCISE = _fields(
    name=_TEXT,
    state={"enum": ["done", "wrong", "to do", "missing", "broken"]},
    findings={"type": "array", "maxItems": 1000, "items": _FINDING},
    problem=_TEXT,
    place=_TEXT,
)
SUBMISSION = _fields(
    archive=_TEXT,
    ids=_TEXTS,
    status=_TEXT,
    exercises={"type": "array", "maxItems": 1000, "items": _EXERCISE},
    whole={"type": "array", "minItems": 2, "maxItems": 2, "items": _COUNT},
    results=_named(_named({"type": "number"})),
    answers=_named(_TEXT),
    fingerprints=_named({"type": "array", "maxItems": MAX_FINGERPRINTS, "items": _COUNT}),
    warnings=_TEXTS,
)
ENTRY = _fields(key=_TEXT, submission=SUBMISSION)


def digest(project: Path, limits: object) -> str:
    """A digest of what decides a verdict, beside the archive.

    :param limits: of a check; their text counts.
    """
    hasher = hashlib.sha256()
    packages = sorted(f"{package.name} {package.version}" for package in distributions())
    for text in (sys.version, sys.platform, repr(limits), *packages):
        hasher.update(f"{text}\n".encode())
    roots = [project / name for name in DECISIVE]
    files = [file for root in roots for file in ([root] if root.is_file() else root.rglob("*"))]
    for file in sorted(files):
        if file.is_file() and "__pycache__" not in file.parts:
            name, data = file.relative_to(project).as_posix(), file.read_bytes()
            hasher.update(f"{name}\n{len(data)}\n".encode())
            hasher.update(data)
    return hasher.hexdigest()


class Cache:
    """Submissions by their keys.

    :param folder: made if it is missing.
    :param decides: see `digest`.
    :raises OSError: nothing can be written there.
    """

    def __init__(self, folder: str | Path, decides: str) -> None:
        self.notes: list[str] = []  # what went wrong, a sentence each; the archive is then checked anew
        self._folder, self._decides = Path(folder), decides
        check_file_writable(self._folder / "entry.json")

    def key(self, archive: str | Path) -> str:
        """An archive's key. Its name counts, since warnings are about it; its folder does not."""
        with Path(archive).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(f"{self._decides}\n{content}\n{Path(archive).name}".encode(errors="replace")).hexdigest()

    def get(self, key: str, archive: str | Path) -> Submission | None:
        """What is kept under a key, as found in this archive; None if that is nothing, or damaged."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            entry = read_json(path, ENTRY)
            if entry["key"] != key:
                raise ValueError(f"{path} is of another archive")
        except (ValueError, OSError) as error:
            self.notes.append(f"an entry of the cache is not used: {error}")
            return None
        return replace(Submission.from_json(entry["submission"]), archive=str(archive))

    def put(self, key: str, submission: Submission, *, keep: bool) -> None:
        """Keep a submission.

        :param keep: False if the machine had a part in the verdict (no time, no memory): then nothing is kept.
        """
        if not keep:
            return
        try:
            write_json(self._path(key), {"key": key, "submission": submission.as_json()}, ENTRY)
        except (ValueError, OSError) as error:
            self.notes.append(f"{submission.archive} is not kept in the cache: {error}")

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"
