"""The sheet of a term: a row for each student, from archives of one or two and the course's roster.

    roster = load_roster("students.csv")                        {"012345678": "Dana", ...}
    rows = student_rows(submissions, weights, roster)
    write_sheet("marks.csv", rows)
    print(table(submissions, weights))                          a line for each archive, for the terminal

A student who is in two archives has a row for each, with a warning: a person decides which of them counts.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from cs236781.files import read_whole, write_whole
from cs236781.grading.showing import number, one_line, passes_bar, reward
from cs236781.grading.verdicts import ExerciseResult, Submission, marks

NOT_HANDED_IN = "nothing handed in"
NOT_IN_ROSTER = "the id is not in the roster"

Row = dict[str, str]

_MAX_ROSTER = 10 * 2**20  # bytes
_MAX_CELL = 1000  # characters
_MAX_HINT = 80  # characters of a hint in the terminal
_MAX_NAMED = 4  # exercises that are not done, in the terminal
_MAX_CONFIGURATIONS = 12
_ID = re.compile(r"[A-Za-z0-9]+")
_CONFIGURATION = re.compile(r"[A-Za-z]\w{0,29}", re.ASCII)
# What begins so, in a cell or behind what separates cells elsewhere, is a formula to a spreadsheet; also in wide forms.
_FORMULA = re.compile(r"(^|[,;\"]\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


def load_roster(path: str | Path) -> dict[str, str]:
    """The students of a course, in the file's order: their names by their ids. A name may be empty.

    :param path: a CSV file whose header has a column `id`, and perhaps `name`, with commas, semicolons or tabs between
        the columns; or a line for each id. In UTF-8, or as Excel's "Unicode text".
    :raises OSError: there is no such file.
    :raises ValueError: it is none of these, or an id is no id, or comes twice; in one line.
    """
    data = read_whole(path, _MAX_ROSTER)
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not in UTF-8: save it again, in Excel as 'CSV UTF-8'") from None
    first = next(filter(str.strip, text.splitlines()), "")
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        lines = [(reader.line_num, cells) for row in reader if any(cells := [cell.strip() for cell in row])]
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV file: {error} in line {reader.line_num}") from None
    if not lines:
        raise ValueError(f"{path} holds no ids: give a CSV file with a column id, or a line for each id")
    header = [cell.casefold() for cell in lines[0][1]]
    if len(header) > 1 and "id" not in header:
        found = ", ".join(cell[:30] for cell in lines[0][1][:10])
        raise ValueError(f"{path} has no column id in its first line, only {found}: name one of them id")
    has_header = "id" in header
    column = header.index("id") if has_header else 0
    name_column = header.index("name") if "name" in header else None
    rest = lines[1:]
    if not has_header and not _has_digit(header[column]) and any(_has_digit(cells[0]) for _, cells in rest):
        raise ValueError(f"{path} begins with {header[0][:50]!r}, which is no id as the others are: call the column id")
    roster: dict[str, str] = {}
    for line, cells in rest if has_header else lines:
        cells = [*cells, *[""] * len(header)]
        student = cells[column]
        if not _ID.fullmatch(student):
            raise ValueError(f"{path} has {student[:50]!r} as an id in line {line}: an id is letters and digits")
        if student in roster:
            raise ValueError(f"{path} has the id {student[:50]} again in line {line}: leave one of them")
        roster[student] = "" if name_column is None else cells[name_column]
    if not roster:
        raise ValueError(f"{path} has a header and no ids below it")
    return roster


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def student_rows(
    submissions: Sequence[Submission], weights: Mapping[str, float], roster: Mapping[str, str] | None = None
) -> list[Row]:
    """A row for each student, whose cells are texts by their column; all rows have the same columns.

    With a roster its students come first, in its order, also those who handed nothing in; then those whom it does not
    have. An archive without ids has a row of its own.

    :param roster: the names by the ids; None if there is none.
    """
    handed_in: dict[str, list[Submission]] = {student: [] for student in roster or {}}
    nameless: list[Submission] = []
    for submission in submissions:
        for student in dict.fromkeys(submission.ids):
            handed_in.setdefault(student, []).append(submission)
        if not submission.ids:
            nameless.append(submission)
    names = {} if roster is None or not any(roster.values()) else roster
    configurations = _configurations(submissions)

    rows = []
    for student, own in handed_in.items():
        for submission in own or [Submission("", [student], NOT_HANDED_IN)]:
            warnings = []
            if roster is not None and student not in roster:
                warnings.append(_not_in(roster, student))
            others = [other.archive for other in own if other is not submission]
            if others:
                warnings.append(f"also in {', '.join(others)}: decide which counts")
            rows.append(_row(student, submission, weights, configurations, names, warnings))
    for submission in nameless:
        rows.append(_row("", submission, weights, configurations, names, ["whose it is, is not known: it has no ids"]))
    return rows


def write_sheet(path: str | Path, rows: Sequence[Row]) -> None:
    """Write the rows as a CSV file, which Excel too reads as UTF-8.

    :raises OSError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0] if rows else ["id"], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue().encode("utf-8-sig", errors="replace"))


def table(submissions: Sequence[Submission], weights: Mapping[str, float]) -> str:
    """A line for each archive: ids, the mark in all, the status, and the exercises that are not done, with hints."""
    rows = [
        {
            "ids": one_line("_".join(submission.ids), 60) or one_line(submission.archive, 60),
            "mark": number(sum(marks(submission, weights).values())),
            "status": one_line(submission.status, 70),
            "not done": _not_done(submission),
        }
        for submission in submissions
    ]
    return tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True, colalign=("left", "right"))


def roster_notes(rows: Sequence[Row]) -> list[str]:
    """What the rows say of the students as a whole, in sentences: who is missing, unknown, or there twice."""
    groups = {
        "handed nothing in": [row for row in rows if row["status"] == NOT_HANDED_IN],
        "not in the roster": [row for row in rows if NOT_IN_ROSTER in row["warnings"]],
        "in more than one archive": [row for row in rows if "also in " in row["warnings"]],
    }
    return [
        f"{len(names)} {what}: {', '.join(names)}"
        for what, found in groups.items()
        if (names := list(dict.fromkeys(f"{row['id']} {row.get('name', '')}".strip() for row in found)))
    ]


def _not_done(submission: Submission) -> str:
    results = [result for result in submission.exercises if result.state != "done"]
    if not submission.exercises:
        return ""
    # Mistakes come first: they can be told from what was never tried.
    results.sort(key=lambda result: result.state in ("to do", "missing"))
    named = "; ".join(map(_in_short, results[:_MAX_NAMED]))
    return named + (f"; and {len(results) - _MAX_NAMED} more" if len(results) > _MAX_NAMED else "")


def _in_short(result: ExerciseResult) -> str:
    hint = next((finding.hint for finding in result.findings if not finding.passed and finding.hint), "")
    mistake = re.split(r"[:.;]\s", hint, maxsplit=1)[0].rstrip(".")  # the rest is advice
    return f"{result.name} ({one_line(mistake or result.problem, _MAX_HINT) or result.state})"


def _configurations(submissions: Sequence[Submission]) -> dict[str, bool]:
    """The configurations that have columns, the commonest, and whether they have a bar. An archive can name any."""
    counts = Counter(
        name for submission in submissions for name in submission.results if _CONFIGURATION.fullmatch(name)
    )
    return {
        name: any("bar" in submission.results.get(name, {}) for submission in submissions)
        for name, _ in counts.most_common(_MAX_CONFIGURATIONS)
    }


def _not_in(roster: Mapping[str, str], student: str) -> str:
    alike = [other for other in roster if other.lstrip("0").casefold() == student.lstrip("0").casefold()]
    return f"{NOT_IN_ROSTER}{f', but {alike[0]} is' if alike else ''}"


def _row(
    student: str,
    submission: Submission,
    weights: Mapping[str, float],
    with_bars: Mapping[str, bool],
    names: Mapping[str, str],
    warnings: Sequence[str],
) -> Row:
    points = marks(submission, weights)
    checked = {exercise.name for exercise in submission.exercises}
    passed, total = submission.whole
    row = {"id": _text(student)}
    if names:
        row["name"] = _text(names.get(student, ""))
    row |= {
        "archive": _text(submission.archive),
        "status": _text(submission.status),
        "mark": number(sum(points.values())),
        **{name: number(mark) if name in checked else "" for name, mark in points.items()},
        "whole code": number(passed / total) if total else "",
    }
    for name in with_bars:
        result = submission.results.get(name, {})
        best = reward(result)
        row[f"{name}: best mean reward"] = "" if best is None else number(best)
        if with_bars[name]:
            row[f"{name}: bar"] = {None: "", True: "passed", False: "not passed"}[passes_bar(result)]
    return row | {"warnings": _text("; ".join(warning.rstrip(".") for warning in [*submission.warnings, *warnings]))}


def _text(text: str) -> str:
    """A cell for a text that may be hostile: on one line, not too long, and no formula to a spreadsheet."""
    return _FORMULA.sub(r"\1'", one_line(text, _MAX_CELL))
