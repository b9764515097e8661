"""Feedback: a Markdown and an HTML file for each student, which say what was found and what to do about it.

    write_feedback(submissions, "feedback", weights, exercises)         -> feedback/123456789.md and .html, ...

Both files are made from one list of blocks. Blocks hold plain text, and the two writers escape all of it: much comes
from the student's code, and may be made to look like the checker's own words, or to do harm in a browser.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cs236781.exercises import Exercise
from cs236781.files import write_whole
from cs236781.grading.page import TEMPLATES, page
from cs236781.grading.showing import fenced, markdown, number, one_line, passes_bar, reward, visible
from cs236781.grading.verdicts import ExerciseResult, Finding, Submission, marks

_MAX_TEXT = 500  # characters of a sentence
_MAX_VALUE = 800  # characters of an expected value, or of what came
_MAX_CHECKS = 8  # of an exercise that are told in full
_MAX_CONFIGURATIONS = 30
_MAX_NAME = 100  # characters of a file's name

_NOT_COUNTED = "not counted"


@dataclass(frozen=True)
class _Heading:
    level: int
    text: str
    state: str = ""


@dataclass(frozen=True)
class _Text:
    """A paragraph. Its first words, the lead, are bold; a box stands out as a whole."""

    text: str
    lead: str = ""
    box: bool = False


@dataclass(frozen=True)
class _Values:
    """Texts of many lines that are compared, by their labels."""

    texts: Mapping[str, str]


@dataclass(frozen=True)
class _Table:
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    states: Sequence[str]  # of the rows


_Block = _Heading | _Text | _Values | _Table


def write_feedback(
    submissions: Iterable[Submission],
    folder: str | Path,
    weights: Mapping[str, float],
    exercises: Sequence[Exercise],
) -> list[Path]:
    """Write the files; returns them, a student's Markdown before the HTML.

    A file is named for its student's id. Both students of a pair get one. Where there is no id, the archive's name
    serves. A second file of the same name has a number behind it: 123-2.md.

    :param folder: is made if it is missing.
    :raises OSError: a file cannot be written.
    """
    written: list[Path] = []
    taken: set[str] = set()
    for submission in submissions:
        for student in submission.ids or [""]:
            name = _file_name(student or Path(submission.archive).stem, taken)
            blocks = list(_blocks(submission, student, weights, exercises))
            title = f"Feedback for {one_line(student, _MAX_NAME) or name}"
            for suffix, data in ((".md", _markdown(blocks).encode()), (".html", _html(title, blocks))):
                written.append(Path(folder) / f"{name}{suffix}")
                write_whole(written[-1], data)
    return written


def _file_name(wanted: str, taken: set[str]) -> str:
    """A plain file name that is not taken, on a system that takes capitals and small letters for the same either."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", wanted[:_MAX_NAME]).strip(".") or "archive"
    name, count = plain, 1
    while name.casefold() in taken:
        count += 1
        name = f"{plain}-{count}"
    taken.add(name.casefold())
    return name


# --- what is said


def _blocks(
    submission: Submission, student: str, weights: Mapping[str, float], exercises: Sequence[Exercise]
) -> Iterator[_Block]:
    points = marks(submission, weights)
    results = {result.name: result for result in submission.exercises}
    known = [(exercise, results[exercise.name]) for exercise in exercises if exercise.name in results]

    yield _Heading(1, f"Feedback for {one_line(student, _MAX_NAME)}" if student else "Feedback")
    partners = [one_line(other, _MAX_NAME) for other in submission.ids if other != student]
    together = f", together with {', '.join(partners)}" if partners else ""
    yield _Text(f"Handed in as {one_line(Path(submission.archive).name, _MAX_TEXT)}{together}.")
    yield _Text("", f"{number(sum(points.values()))} of {number(sum(weights.values()))} points")
    if submission.status != "ok":
        yield _Text(one_line(submission.status, _MAX_TEXT), "The check did not go through:", box=True)
    if known:
        yield _Text(_counts([result for _, result in known]))
        yield _overview(known, points, weights, submission.answers)
    else:
        yield _Text("No exercise could be checked. Mend what is said above, and hand in again if you still can.")

    to_mend = [(exercise, result) for exercise, result in known if result.state != "done"]
    if to_mend:
        yield _Heading(2, "What to work on")
    for exercise, result in to_mend:
        yield from _advice(exercise, result, _points(exercise.name, points, weights))

    if known:
        yield _Heading(2, "Your code as a whole")
        yield _Text(_whole(submission))
    yield _Heading(2, "What you trained")
    yield from _trained(submission.results)
    if submission.warnings:
        yield _Heading(2, "Please note")
        for warning in submission.warnings:
            yield _Text(one_line(warning, _MAX_TEXT))


def _counts(results: Sequence[ExerciseResult]) -> str:
    states = [result.state for result in results]
    counts = {state: states.count(state) for state in ("wrong", "to do", "missing", "broken")}
    done = len(results) - sum(counts.values())
    if done == len(results):
        return f"All {done} exercises are done. Well done!"
    others = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return f"Of {len(results)} exercises {done} {'is' if done == 1 else 'are'} done. The others: {others}."


def _overview(
    known: Sequence[tuple[Exercise, ExerciseResult]],
    points: Mapping[str, float],
    weights: Mapping[str, float],
    answers: Mapping[str, str],
) -> _Table:
    rows = []
    for exercise, result in known:
        passed = sum(finding.passed for finding in result.findings)
        checks = f"{passed} of {len(result.findings)}" if result.findings else ""
        read = ", a person reads it" if result.state == "done" and exercise.name in answers else ""
        rows.append([exercise.name, result.state + read, checks, _points(exercise.name, points, weights)])
    return _Table(["Exercise", "Result", "Checks", "Points"], rows, [result.state for _, result in known])


def _points(name: str, points: Mapping[str, float], weights: Mapping[str, float]) -> str:
    return f"{number(points[name])} of {number(weights[name])}" if weights.get(name) else _NOT_COUNTED


def _advice(exercise: Exercise, result: ExerciseResult, points: str) -> Iterator[_Block]:
    """What is to be done about an exercise: the likely mistakes first, and below each the checks that show it."""
    earned = points if points == _NOT_COUNTED else f"{points} points"
    yield _Heading(3, f"{exercise.name}: {result.state} ({earned})", result.state)
    if result.problem:
        yield _Text(one_line(result.problem, _MAX_TEXT))
    elif result.state == "to do":
        yield _Text("This is not written yet.")
    elif result.state == "missing":
        yield _Text("Your code has no such function.")
    if result.place:
        yield _Text(one_line(result.place, _MAX_TEXT), "Where:")
    if result.state in ("to do", "missing"):
        yield _Text(one_line(exercise.task, 2 * _MAX_TEXT), "The task:")
        return  # its checks say no more than that
    failing = [finding for finding in result.findings if not finding.passed]
    if result.state == "broken" and len({finding.got for finding in failing}) == 1:
        return  # they all say what is said above
    shown = failing[:_MAX_CHECKS]
    for hint in sorted(dict.fromkeys(finding.hint for finding in shown), key=lambda hint: not hint):
        if hint:
            yield _Text(one_line(hint, _MAX_TEXT), "Likely mistake:", box=True)
        for finding in shown:
            if finding.hint == hint:
                yield from _check(finding)
    if len(failing) > len(shown):
        yield _Text(f"{len(failing) - len(shown)} more of its checks fail.")


def _check(finding: Finding) -> Iterator[_Block]:
    yield _Text(one_line(finding.asked or finding.name, _MAX_TEXT), "Asked:")
    texts = {"Expected": finding.expected, "Got (what differs)": finding.got}
    yield _Values({label: visible(text.strip("\n"), _MAX_VALUE) for label, text in texts.items() if text.strip()})


def _whole(submission: Submission) -> str:
    passed, total = submission.whole
    findings = [finding for result in submission.exercises for finding in result.findings]
    alone, of_none = sum(finding.passed for finding in findings), total - len(findings)
    if not total:
        return "Your code was not run as a whole."
    text = f"All your code together: {passed} of {total} checks pass."
    if passed < alone:
        return (
            f"{text} Exercise by exercise {alone} do: there, right solutions stand in for all your other exercises, so "
            "that a mistake costs points only where it is made. As a whole, it also stops what is built on it. This "
            "costs no more points."
        )
    if passed > alone + of_none:  # some checks are of no exercise, but of the whole only
        return (
            f"{text} Exercise by exercise only {alone} do: there, right solutions stand in for all your other "
            "exercises. So some of your functions fit each other, but not the assignment: in a shape, a name, or an "
            "order. The points are for what the assignment asks."
        )
    return f"{text} It is the same exercise by exercise."


def _trained(results: Mapping[str, Mapping[str, float]]) -> Iterator[_Block]:
    if not results:
        yield _Text("There are no results of training in the archive.")
        return
    rows, states = [], []
    for name, result in list(results.items())[:_MAX_CONFIGURATIONS]:
        best, passed = reward(result), passes_bar(result)
        verdict, state = {None: ("no bar", ""), True: ("passed", "done"), False: ("not passed", "wrong")}[passed]
        bar = "" if passed is None else number(result["bar"])
        rows.append([one_line(name, _MAX_NAME), verdict, "not a number" if best is None else number(best), bar])
        states.append(state)
    yield _Table(["Configuration", "Result", "Best mean reward", "Bar: more than"], rows, states)


# --- as Markdown and HTML


def _markdown(blocks: Iterable[_Block]) -> str:
    return "\n\n".join(map(_block_in_markdown, blocks)) + "\n"


def _block_in_markdown(block: _Block) -> str:
    if isinstance(block, _Heading):
        return f"{'#' * block.level} {markdown(block.text)}"
    if isinstance(block, _Text):
        lead = f"**{markdown(block.lead)}** " if block.lead else ""
        return f"{'> ' if block.box else ''}{lead}{markdown(block.text)}".rstrip()
    if isinstance(block, _Values):
        return "\n\n".join(f"{label}:\n\n{fenced(text)}" for label, text in block.texts.items())
    lines = [block.header, ["---"] * len(block.header)]
    cells = [list(map(markdown, row)) for row in block.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in [*lines, *cells])


_BODY = TEMPLATES.from_string(
    """\
{% for kind, block in blocks %}
{% if kind == "_Heading" %}
<h{{ block.level }}{% if block.state %} class="{{ block.state | replace(" ", "-") }}"{% endif %}>\
{{ block.text }}</h{{ block.level }}>
{% elif kind == "_Text" %}
<p{% if block.box %} class="box"{% elif not block.text %} class="large"{% endif %}>\
{% if block.lead %}<strong>{{ block.lead }}</strong> {% endif %}{{ block.text }}</p>
{% elif kind == "_Values" %}
<div class="values">
{% for label, text in block.texts.items() %}
<div><p>{{ label }}</p><pre dir="ltr">{{ text }}</pre></div>
{% endfor %}
</div>
{% else %}
<table>
<thead><tr>{% for cell in block.header %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}
<tr class="{{ block.states[loop.index0] | replace(" ", "-") }}">\
{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody>
</table>
{% endif %}
{% endfor %}
"""
)

_RULES = """
.large { font-size: 1.3rem; }
.box { border-left: 4px solid var(--page-yellow); background: var(--page-raised); padding: 0.6em 0.8em; }
.values { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 0.3rem 1rem;
  margin-bottom: 1.2em; }
.values p { margin: 0; font-size: 0.875rem; color: var(--jp-content-font-color2); }
h3 { padding-left: 0.5em; border-left: 4px solid var(--page-line); }
h3.wrong, h3.broken { border-color: var(--page-red); }
h3.to-do, h3.missing { border-color: var(--page-yellow); }
tr.done td:nth-child(2) { color: var(--page-green); }
tr:is(.wrong, .broken) td:nth-child(2) { color: var(--page-red); }
tr:is(.to-do, .missing) td:nth-child(2) { color: var(--page-yellow); }
th { overflow-wrap: normal; }
@media screen and (max-width: 40rem) { table { font-size: 0.85rem; } }
"""


def _html(title: str, blocks: Iterable[_Block]) -> bytes:
    return page(title, _BODY.render(blocks=[(type(block).__name__, block) for block in blocks]), _RULES)
