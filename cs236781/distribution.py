"""The copy of the assignment that students receive: this project with the solutions taken out.

    prepare_dist(out_dir=".")        -> hw4-dist.zip

`tests/exercises.toml` says what a student writes. In the copy the body of such a function gives way to the task, as a
comment, and a `raise NotImplementedError` that names the exercise; signature and docstring stay. An answer to one of
the notebook's questions, a constant, gives way to a placeholder. Helpers of the solution are left out.

The same files give the same bytes.
"""

import subprocess
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import libcst as cst
from libcst import matchers as m

from cs236781.exercises import TABLE, Exercise, load_exercises
from cs236781.files import check_folder_writable, write_archive
from cs236781.jupyter_utils import cleared

PROJECT = Path(__file__).resolve().parents[1]

# What is packed, of all that git tracks. A file that is new elsewhere stays out until it is named here.
PACKED = (
    ".gitignore",
    "LICENSE",
    "Makefile",
    "Part*_*.ipynb",
    "cs236781",
    "environment.yml",
    "hw4",
    "jupyter-lab.sh",
    "main.py",
    "pyproject.toml",
    "requirements.lock",
    "tests",
)
# Of these, what is the instructor's, and what tests the solution's results: the executed notebook and its page.
LEFT_OUT = (
    "cs236781/distribution.py",
    "cs236781/grading",
    "tests/assets/solutions",
    "tests/cs236781/grading",
    "tests/cs236781/test_browser.py",
    "tests/cs236781/test_distribution.py",
    "tests/cs236781/test_exercises.py",
    "tests/hw4/test_known_mistakes.py",
    "tests/hw4/test_other_solutions.py",
    "tests/test_notebook.py",
    "tests/lent.toml",
    "tests/weights.toml",
)
README = "docs/students.md"  # README.md in the copy
# The linter's settings for code whose imports wait for the exercises that need them.
LINTER = 'extend = "../pyproject.toml"\nsrc = [".."]\nlint.extend-ignore = ["F401"]\n'

LINE_LENGTH = 120


def prepare_dist(*, root: str | Path = PROJECT, out_dir: str | Path = ".") -> Path:
    """Make the students' copy and pack it; returns the archive's path.

    :param root: the project, in a git working tree.
    :param out_dir: the folder the archive goes into.
    :raises OSError: out_dir cannot be written to, there is no git, root is no git working tree, or a file is missing.
    :raises ValueError: the table of exercises does not fit the code.
    """
    root, out_dir = Path(root).resolve(), Path(out_dir)
    check_folder_writable(out_dir)
    contents = students_files(root)
    target = out_dir / "hw4-dist.zip"
    write_archive(target, contents, root)
    size = f"{target.stat().st_size / 1e6:.2f} MB"
    print(f"{target}: {len(contents)} files, {size}, {len(load_exercises(root))} exercises to write")
    return target


def students_files(root: Path) -> dict[str, bytes]:
    """The students' files, by name: see `prepare_dist`."""
    names = tracked(root, *PACKED, *(f":(exclude){name}" for name in LEFT_OUT))
    missing = [name for name in LEFT_OUT if not (root / name).exists()]
    if missing:
        raise ValueError(f"{missing[0]} is to be left out and is not there: is it called otherwise by now?")
    exercises = load_exercises(root)
    files = {name: (root / name).read_bytes() for name in names}
    for name, data in files.items():
        if name.endswith(".ipynb"):
            files[name] = cleared(root / name)
        elif name.startswith("hw4/") and name.endswith(".py"):
            files[name] = without_solutions(data.decode(), name, exercises).encode()
    return files | {"README.md": (root / README).read_bytes(), "hw4/ruff.toml": LINTER.encode()}


def tracked(root: Path, *patterns: str) -> list[str]:
    """The files of a git working tree that git tracks, of those that match a pattern of git's.

    :raises OSError: there is no git, or root is no working tree.
    """
    command = ["git", "-C", str(root), "ls-files", "-z", "--", *patterns]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise FileNotFoundError("there is no git, which knows the files to pack: install it") from error
    except subprocess.CalledProcessError as error:
        raise OSError(f"git does not list the files of {root} ({' '.join(error.stderr.split())})") from error
    return sorted(filter(None, listing.split("\0")))


# --- solutions out

_IMPORT = m.SimpleStatementLine([m.Import() | m.ImportFrom()])


def without_solutions(source: str, file: str, exercises: Sequence[Exercise]) -> str:
    """A module's source as students receive it.

    :param file: the module's path in the project.
    :raises ValueError: the module lacks what the table names, or what is given to students needs a left-out helper.
    """
    module = cst.parse_module(source)
    helpers = {helper for exercise in exercises for helper in exercise.helpers}
    own = [exercise for exercise in exercises if exercise.file == file]
    pending = {name: exercise for exercise in own for name in [*exercise.functions, *exercise.start]}
    absent = {helper for exercise in own for helper in exercise.helpers} - {_name(node) for node in module.body}
    if own:
        module = _without_helpers(module, helpers)
        module = module.with_changes(body=list(_rewritten(module.body, pending)))
    if absent := absent | pending.keys():
        raise ValueError(f"{TABLE} names {min(absent)}, which is not in {file}")
    if needed := helpers & _values(module, m.Name()):
        raise ValueError(f"{min(needed)} is left out of the students' copy, and what is given in {file} needs it")
    return module.code


def _without_helpers(module: cst.Module, helpers: Collection[str]) -> cst.Module:
    """The module without helpers, their imports, and what is imported for helpers alone.

    An import that a body needs stays, as a hint.
    """
    given: list[Any] = [statement for statement in module.body if _name(statement) not in helpers]
    code = cst.Module([statement for statement in given if not m.matches(statement, _IMPORT)])
    used = {name.strip("\"'") for name in _values(code, m.Name() | m.SimpleString())}  # strings as in __all__
    body: list[Any] = []
    blank: Sequence[cst.EmptyLine] = ()  # that stood above an import which is gone
    for statement in given:
        if m.matches(statement, _IMPORT):
            import_ = statement.body[0]
            names = [alias for alias in import_.names if (name := _bound_name(alias)) in used and name not in helpers]
            if not names:
                blank = blank or statement.leading_lines
                continue
            names[-1] = names[-1].with_changes(comma=import_.names[-1].comma)
            statement = statement.with_deep_changes(import_, names=names)
            statement = statement.with_changes(leading_lines=statement.leading_lines or blank)
        blank = ()
        body.append(statement)
    return module.with_changes(body=body)


def _values(module: cst.Module, kind: m.OneOf | m.Name) -> set[str]:
    nodes: Sequence[Any] = m.findall(module, kind)
    return {node.value for node in nodes}


def _bound_name(alias: cst.ImportAlias) -> str:
    return alias.evaluated_alias or alias.evaluated_name.partition(".")[0]


def _rewritten(body: Iterable[Any], pending: dict[str, Exercise], scope: str = "") -> Iterator[Any]:
    """Statements with those that are pending emptied, and taken from there."""
    for statement in body:
        name = scope + _name(statement)
        if isinstance(statement, cst.ClassDef):
            inside = list(_rewritten(statement.body.body, pending, f"{name}."))
            yield statement.with_deep_changes(statement.body, body=inside)
        elif name in pending:
            yield _placeholder(statement, name, pending.pop(name))
        else:
            yield statement


def _placeholder(statement: Any, name: str, exercise: Exercise) -> Any:
    """A function or an answer with the task in place of the solution."""
    first = exercise.functions[0]
    task = f"TODO: {exercise.task if name == first else f'as {first} says.'}"
    if not isinstance(statement, cst.FunctionDef):
        answer = cst.parse_statement(f'{name} = r"""\nYour answer ({exercise.mark}).\n"""')
        return answer.with_changes(leading_lines=[*_blank(statement.leading_lines), *_comment(task, 0)])
    if name in exercise.start:
        task += f" ({exercise.mark})"
        body = cst.parse_statement(f"return {exercise.start[name]}")
    else:
        body = cst.parse_statement(f'raise NotImplementedError("{exercise.mark}")')
    if name in exercise.functions:
        body = body.with_changes(leading_lines=_comment(task, 4 * len(name.split("."))))
    block: Any = statement.body
    docstring = block.body[:1] if statement.get_docstring() is not None else []
    return statement.with_deep_changes(block, body=[*docstring, body], footer=_blank(block.footer))


def _name(statement: Any) -> str:
    """The name that a statement defines; empty if it defines none."""
    if m.matches(statement, m.FunctionDef() | m.ClassDef()):
        return statement.name.value
    if m.matches(statement, m.SimpleStatementLine([m.Assign([m.AssignTarget(m.Name())])])):
        return statement.body[0].targets[0].target.value
    return ""


def _blank(lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    return [line for line in lines if line.comment is None]


def _comment(text: str, indent: int) -> list[cst.EmptyLine]:
    lines = textwrap.wrap(text, LINE_LENGTH - indent - len("# "), break_long_words=False, break_on_hyphens=False)
    return [cst.EmptyLine(comment=cst.Comment(f"# {line}")) for line in lines]
