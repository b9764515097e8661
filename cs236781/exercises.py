"""The exercises of the assignment: the table `tests/exercises.toml`, and which of them are still to be written."""

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

TABLE = "tests/exercises.toml"
CHECKS = "tests/hw4/test_checks.py::test_check"  # the test that puts `cs236781.checks` to the code
NOT_WRITTEN = "an exercise, not written yet"

_MARK = re.compile(rf"([\w.]+): {NOT_WRITTEN}")


@dataclass(frozen=True)
class Exercise:
    """A row of the table, which says what the fields mean."""

    name: str
    section: str
    file: str
    task: str
    tests: list[str]
    functions: list[str]
    helpers: list[str] = field(default_factory=list)
    start: dict[str, str] = field(default_factory=dict)
    together: list[str] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """What stands in a project's code as long as the exercise is not written."""
        return f"{self.name}: {NOT_WRITTEN}"

    def has_test(self, nodeid: str) -> bool:
        """Whether a test is about this exercise."""
        if nodeid.startswith(f"{CHECKS}["):
            return nodeid.startswith(f"{CHECKS}[{self.name}: ")
        return any(nodeid == test or nodeid.startswith((f"{test}::", f"{test}[")) for test in self.tests)


def load_exercises(root: Path) -> list[Exercise]:
    """A project's table of exercises."""
    rows = tomllib.loads((root / TABLE).read_text(encoding="utf-8"))["exercise"]
    return [Exercise(**{"functions": [row["name"]], **row, "task": row["task"].strip()}) for row in rows]


def marked_in(text: str) -> list[str]:
    """The names of the exercises that a text says are not written."""
    return _MARK.findall(text)


def not_written(root: Path, exercises: list[Exercise]) -> dict[str, str]:
    """The exercises that are to do in a project, by name, and where: file:line."""
    places: dict[str, str] = {}
    for file in dict.fromkeys(exercise.file for exercise in exercises):
        text = (root / file).read_text(encoding="utf-8", errors="replace") if (root / file).is_file() else ""
        for number, line in enumerate(text.splitlines(), start=1):
            for name in marked_in(line):
                places.setdefault(name, f"{file}:{number}")
    return places
