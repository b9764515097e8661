"""A package with one exercise of a student's and the reference's solution in the place of all others.

    survey = look_at(sources, exercises)                       # what is missing, to do, or no Python
    files = transplant(reference, sources, exercise, exercises)

So a wrong `calc_qvals` costs that exercise, and none that builds upon it. Sources are texts by their names: "rl_pg.py".
The code is only read here, never run. All is done on lines, so that a place in the new files leads back to the
student's. The checker runs this file as a program, under limits: parsing takes much time and memory for some texts.

    python -m cs236781.grading.transplant PROJECT REFERENCE STUDENT OUT REPORT EXERCISE...

makes OUT/0/hw4 and OUT/1/hw4 of the first exercise, with the student's class and with the reference's, and so on. What
can be seen of the code, and where the lines of each package come from, goes into REPORT, as JSON.
"""

import ast
import io
import json
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from cs236781.exercises import Exercise, load_exercises
from cs236781.grading.similarity import fingerprints

MAX_SOURCE_BYTES = 1_000_000
LENT = "tests/lent.toml"  # in the project, if it lends names
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts them; splitlines knows more ends
_IMPORTS = (ast.Import, ast.ImportFrom)
_GIVEN = "_given_"  # before the names of the reference's helpers, which a student may have given to others

# A line, and where it stands in the student's file; 0 if it is the reference's.
Line = tuple[str, int]


@dataclass(frozen=True)
class Module:
    """A module's lines and its statements.

    :param is_students: whose it is.
    """

    lines: list[str]
    body: list[ast.stmt]
    is_students: bool

    def between(self, first: int, last: int) -> list[Line]:
        """The lines with these numbers, the last one included."""
        numbers = range(first, last + 1)
        return [(_ended(self.lines[number - 1]), number * self.is_students) for number in numbers]

    def of(self, node: ast.stmt) -> list[Line]:
        """The lines of a statement, with its decorators."""
        return self.between(*_span(node))


@dataclass
class Survey:
    """What can be seen of a package without running it.

    :param broken: of a file that is no Python: line and message.
    :param places: file:line of each exercise that is there.
    :param to_do: exercises that say that they are not written.
    :param missing: exercises that no file has.
    """

    broken: dict[str, tuple[int, str]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    to_do: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Lent:
    """A name that the reference's classes are lent: a row of the table, which says what the fields mean."""

    name: str
    file: str
    code: str


def load_lent(root: Path) -> list[Lent]:
    """A project's table of names to lend; none if it has no table."""
    table = root / LENT
    return [Lent(**row) for row in tomllib.loads(table.read_text(encoding="utf-8"))["lent"]] if table.is_file() else []


def read_sources(package: Path) -> dict[str, str]:
    """The texts of a package's modules, by their names in it, in the encoding that each declares.

    A file that cannot be read as text is left as one that no parser takes, with the reason in it.
    """
    sources = {}
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        data = path.read_bytes()[:MAX_SOURCE_BYTES]
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            text = data.decode(encoding)
        except (SyntaxError, UnicodeDecodeError, LookupError) as error:
            reason = f"{name} is not in the encoding that it declares: {error}"
            text = f"raise SyntaxError({reason!r}) )"
        sources[name] = re.sub(r"\A(.*\n)?[ \t\f]*#.*?coding[:=][ \t]*[-\w.]+.*", r"\1#", text, count=1)
    return sources


@cache
def _module(text: str, students: bool) -> Module:
    return Module(text.splitlines(keepends=True), ast.parse(text).body, students)


def parsed(sources: Mapping[str, str], *, students: bool) -> tuple[dict[str, Module], dict[str, tuple[int, str]]]:
    """The modules, and of each file that is no Python the line and the reason."""
    modules, broken = dict[str, Module](), dict[str, tuple[int, str]]()
    for name, text in sources.items():
        found = _parsed(text, students)
        if isinstance(found, Module):
            modules[name] = found
        else:
            broken[name] = found
    return modules, broken


@cache
def _parsed(text: str, students: bool) -> Module | tuple[int, str]:
    """A module, or the line and the reason why it is none. Each exercise asks for the same ones."""
    try:
        return Module(_LINE.findall(text), ast.parse(text).body, students)
    except SyntaxError as error:
        return error.lineno or 1, str(error.msg)
    except (ValueError, RecursionError, MemoryError) as error:
        return 1, f"it cannot be parsed ({type(error).__name__})"


def look_at(sources: Mapping[str, str], exercises: Sequence[Exercise]) -> Survey:
    """What can be seen of a package."""
    modules, broken = parsed(sources, students=True)
    survey = Survey(broken)
    for exercise in exercises:
        found = [place for name in exercise.functions if (place := _find(modules, exercise, name))]
        if not found:
            survey.missing.append(exercise.name)
            continue
        survey.places[exercise.name] = f"hw4/{found[0][0]}:{_span(found[0][1])[0]}"
        if any(exercise.mark in "".join(map(_text, modules[file].of(node))) for file, node in found):
            survey.to_do.append(exercise.name)
    return survey


def _text(line: Line) -> str:
    return line[0]


def _find(modules: Mapping[str, Module], exercise: Exercise, name: str) -> tuple[str, ast.stmt] | None:
    """Where a function, class or constant is; None if no file has it.

    In the exercise's own file first, unless it is still as it was handed out there, and another file has it.
    """
    own = exercise.file.removeprefix("hw4/")
    files = [file for file in [own, *(other for other in modules if other != own)] if file in modules]
    found = [(file, node) for file in files if (node := _named(modules[file].body, name)) is not None]
    written = (one for one in found if exercise.mark not in "".join(map(_text, modules[one[0]].of(one[1]))))
    return next(written, found[0] if found else None)


def _named(body: Iterable[ast.stmt], name: str) -> ast.stmt | None:
    """The last statement that defines a name, or a method as Class.name."""
    first, _, rest = name.partition(".")
    found = [statement for statement in body if first in _defined(statement)]
    if not found or not rest:
        return found[-1] if found else None
    return _named(found[-1].body, rest) if isinstance(found[-1], ast.ClassDef) else None


def _defined(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module or class binds, imports aside."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        targets = [statement.target]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _span(node: ast.stmt) -> tuple[int, int]:
    """Its first line, with decorators, and its last."""
    decorators = [decorator.lineno for decorator in getattr(node, "decorator_list", [])]
    return min([node.lineno, *decorators]), node.end_lineno or node.lineno


def transplant(
    reference: Mapping[str, str],
    sources: Mapping[str, str],
    exercise: Exercise,
    exercises: Sequence[Exercise],
    *,
    keep_class: bool = True,
    lent: Sequence[Lent] = (),
) -> dict[str, list[Line]] | None:
    """The reference's package with one exercise of a student's, and what the student's code has beside the exercises.

    :param keep_class: keep the student's class around a method, with the reference's other exercises in it; or keep the
        reference's class, with the student's method in it.
    :param lent: names that the reference's classes get, of those that the student's code defines.
    :return: the lines of each file; None if the student's code has no such exercise, or its file is no Python.
    """
    modules, _ = parsed(sources, students=True)
    found = _find(modules, exercise, exercise.functions[0].partition(".")[0])
    if found is None:
        return None
    home, own = found
    helpers = {helper for one in exercises for helper in one.helpers}
    given, _ = parsed({name: _renamed(text, helpers) for name, text in reference.items()}, students=False)
    files_of_exercises = {one.file.removeprefix("hw4/") for one in exercises}
    result = {name: _whole(module) for name, module in modules.items() if name not in given}
    for file, module in given.items():
        place = exercise.file == f"hw4/{file}"
        mine = modules.get(home if place else file)
        if mine is not None and (place or file in files_of_exercises):
            graft = _Graft(module, mine, exercise, exercises, own if place else None, keep_class)
            result[file] = graft.lines()
        else:
            result[file] = _whole(module)
    names = _names_given(modules, exercises)
    for one in lent:
        if one.name in names:
            code = _renamed(one.code, helpers).splitlines(keepends=True)
            result[one.file.removeprefix("hw4/")] += [(line, 0) for line in code]
    return result


def _names_given(modules: Mapping[str, Module], exercises: Sequence[Exercise]) -> set[str]:
    """The names of methods, and those that methods put on self, in what the student's classes have beside exercises."""
    taken = {name for one in exercises for name in one.functions}
    names = set[str]()
    for class_ in (node for module in modules.values() for node in module.body if isinstance(node, ast.ClassDef)):
        for method in class_.body:
            if isinstance(method, ast.FunctionDef) and f"{class_.name}.{method.name}" not in taken:
                names.add(method.name)
                stored = (node for node in ast.walk(method) if isinstance(node, ast.Attribute))
                names |= {node.attr for node in stored if isinstance(node.ctx, ast.Store)}
    return names


def _whole(module: Module) -> list[Line]:
    return module.between(1, len(module.lines))


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n"


def _renamed(text: str, helpers: Iterable[str]) -> str:
    for helper in helpers:
        text = re.sub(rf"\b{helper}\b", f"{_GIVEN}{helper}", text)
    return text


@dataclass(frozen=True)
class _Graft:
    """A file of the reference's, and what of a student's goes into it.

    :param own: the student's class, function or constant that is judged, if this is the file of it.
    """

    given: Module
    mine: Module
    exercise: Exercise
    exercises: Sequence[Exercise]
    own: ast.stmt | None
    keep_class: bool

    def lines(self) -> list[Line]:
        """The student's imports and what else it defines, around the reference's statements."""
        mine = self.mine
        imports = [line for node in mine.body if isinstance(node, _IMPORTS) for line in mine.of(node)]
        lines = sorted(imports, key=lambda line: "__future__" not in line[0])
        extras = self._extras()
        kept = _defined(self.own) if self.own is not None else {name for node in extras for name in _defined(node)}
        before = [node for node in extras if self.own is not None and node.lineno < self.own.lineno]
        at = 0
        for statement in self.given.body:
            if not _defined(statement) & kept:
                continue
            first, last = _span(statement)
            lines += self.given.between(at + 1, first - 1)
            if self.own is not None:
                lines += [line for node in before for line in mine.of(node)]
                lines += self._own_lines(statement, self.own)
            at = last
        lines += self.given.between(at + 1, len(self.given.lines))
        return lines + [line for node in extras if node not in before for line in mine.of(node)]

    def _extras(self) -> list[ast.stmt]:
        """The student's statements that go along: they define what the reference lacks, or what is judged with it."""
        taken = {name for statement in self.given.body for name in _defined(statement)}
        taken |= {name.partition(".")[0] for one in self.exercises for name in one.functions}
        taken -= {name for name in self.exercise.together if self.own is None}
        extras = []
        for statement in self.mine.body:
            if isinstance(statement, (ast.If, ast.Try)):
                belongs = "__main__" not in ast.unparse(statement)[:200]
            else:
                belongs = bool(names := _defined(statement)) and not names & taken
            extras += [statement] * belongs
        return extras

    def _own_lines(self, theirs: ast.stmt, own: ast.stmt) -> list[Line]:
        """The student's function; or its class, with what is the reference's in it."""
        if not isinstance(own, ast.ClassDef) or not isinstance(theirs, ast.ClassDef):
            return self.mine.of(own)
        others = {
            method
            for one in self.exercises
            for name in one.functions
            for class_, _, method in [name.partition(".")]
            if one is not self.exercise and class_ == own.name
        }
        mine, given = _members(own), _members(theirs)
        if self.keep_class:
            put = {name for name in given if name in others}
            if self.exercise.name != own.name:  # the class is given, and the exercise a method of it
                put |= given.keys() - mine.keys() - {name.partition(".")[2] for name in self.exercise.functions}
            return _with_members(own, self.mine, theirs, self.given, put)
        put = {name for name in mine if name not in others and (name not in given or self._asks_for(own.name, name))}
        return _with_members(theirs, self.given, own, self.mine, put)

    def _asks_for(self, class_: str, method: str) -> bool:
        return {class_, f"{class_}.{method}"} & {self.exercise.name, *self.exercise.functions} != set()


def _members(node: ast.ClassDef) -> dict[str, ast.stmt]:
    return {name: statement for statement in node.body for name in _defined(statement)}


def _with_members(
    base: ast.ClassDef, of_base: Module, other: ast.ClassDef, of_other: Module, put: set[str]
) -> list[Line]:
    """A class's lines, with members of another in place of its own and at its end."""
    first, _ = _span(base.body[0])
    if first <= base.lineno:  # class A(B): pass
        return of_base.of(base)
    line = of_base.lines[base.body[0].lineno - 1]
    indent = line[: len(line) - len(line.lstrip())]
    left = {name: node for name, node in _members(other).items() if name in put}
    lines = of_base.between(_span(base)[0], first - 1)
    for statement in base.body:
        new = next((left.pop(name) for name in _defined(statement) & left.keys()), None)
        lines += of_base.of(statement) if new is None else _indented(of_other, new, indent)
    return lines + [line for node in left.values() for line in _indented(of_other, node, indent)]


def _indented(module: Module, node: ast.stmt, indent: str) -> list[Line]:
    """The lines of a statement, where the first one's indentation gives way to another; texts stay as they are."""
    in_text = {
        number
        for part in ast.walk(node)
        if isinstance(part, (ast.Constant, ast.JoinedStr))
        for number in range(part.lineno + 1, (part.end_lineno or part.lineno) + 1)
    }
    lines = module.of(node)
    first, text = _span(node)[0], lines[0][0]
    old = text[: len(text) - len(text.lstrip())]
    return [
        (indent + text.removeprefix(old) if text.startswith(old) and number not in in_text else text, origin)
        for number, (text, origin) in enumerate(lines, start=first)
    ]


def main(arguments: Sequence[str]) -> None:
    """The program."""
    table, reference, student, out, report, *names = arguments
    exercises, lent = load_exercises(Path(table)), load_lent(Path(table))
    sources = read_sources(Path(student))
    origins: list[dict[str, list[int]]] = []
    given = read_sources(Path(reference))
    for name in names:
        exercise = next(one for one in exercises if one.name == name)
        for keep_class in (True, False):
            files = transplant(given, sources, exercise, exercises, keep_class=keep_class, lent=lent) or {}
            for file, lines in files.items():
                target = Path(out) / str(len(origins)) / "hw4" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("".join(map(_text, lines)), encoding="utf-8")
            origins.append(
                {file: [number for _, number in lines] for file, lines in files.items() if any(n for _, n in lines)}
            )
    own = {f"hw4/{name}": text for name, text in sources.items()}
    written = {exercise.file for exercise in exercises}
    compared = {name: text for name, text in own.items() if name in written or name.removeprefix("hw4/") not in given}
    prints, _ = fingerprints(compared, exercises)
    found = {"survey": asdict(look_at(sources, exercises)), "origins": origins, "fingerprints": prints}
    Path(report).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
