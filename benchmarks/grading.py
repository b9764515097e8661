"""Whether check-submission blames the exercise that is wrong and no other, and how long it takes.

    python -m benchmarks.grading

Each solution of `tests/assets/solutions` that the tests run in processes becomes an archive of its own: the project's
code with that solution in it. Of a right one nothing may be blamed, of a wrong one its own exercise only. It takes some
three minutes on two cores.
"""

import os
import tempfile
import time
import zipfile
from pathlib import Path

from cs236781.grading.checking import PROJECT, check_submissions
from tests.hw4.test_other_solutions import EXERCISES, RIGHT, WRONG, with_body

JOBS = 2


def pack(target: Path, solution: dict[str, str]) -> None:
    """An archive of the project's code with a solution in it."""
    sources = {path.relative_to(PROJECT).as_posix(): path.read_text() for path in (PROJECT / "hw4").rglob("*.py")}
    for function, body in solution.items():
        file = EXERCISES[function].file
        sources[file] = with_body(sources[file], function, body)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sources.items():
            archive.writestr(f"{target.stem}/{name}", text)


def main() -> None:
    """Build the archives, check them, and count."""
    rows = RIGHT | {name: row for name, row in WRONG.items() if row.get("tests")}
    solutions = {name: {key: body for key, body in row.items() if key in EXERCISES} for name, row in rows.items()}
    expected = {
        name: set() if name in RIGHT else {EXERCISES[key].name for key in own} for name, own in solutions.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        archives = [Path(folder) / f"hw4-{number}.zip" for number in range(len(solutions))]
        for archive, solution in zip(archives, solutions.values(), strict=True):
            pack(archive, solution)
        start = time.perf_counter()
        found = check_submissions(archives, jobs=JOBS)
        seconds = time.perf_counter() - start
    blamed = [{result.name for result in one.exercises if result.state != "done"} for one in found]
    for name, names in zip(solutions, blamed, strict=True):
        if names != expected[name]:
            print(f"{name}: {', '.join(sorted(names)) or 'nothing'} is blamed")
    right = sum(names == expected[name] for name, names in zip(solutions, blamed, strict=True))
    each = seconds / len(found)
    print(f"{right} of {len(found)} archives, {len(RIGHT)} of them right, are judged as they should be")
    print(f"{seconds:.0f} s with {JOBS} at a time, {each:.1f} s each; 200 would take {200 * each / 60:.1f} min")
    print(f"load average {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
