"""The copy of the assignment that students receive, made from this project with the solutions taken out.

    prepare_dist(out_dir=".")        -> hw4-dist.zip

What a student writes is marked in `hw4` with the decorator `@exercise("the task")`. In the students' copy the mark and
the body give way to the task, as a comment, and a `raise NotImplementedError` that names the exercise, under the same
signature and docstring. The answers to the notebook's questions, the constants part1_q1 and so on, give way likewise.

The same files give the same bytes.
"""

import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path

import libcst as cst
from libcst import matchers as m

from cs236781.files import check_folder_writable, write_whole, zipped
from cs236781.jupyter_utils import cleared

PROJECT = Path(__file__).resolve().parents[1]

NAME = "hw4-dist"

# What is packed, of all that git tracks; a file that is new elsewhere stays out until it is named here.
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
# Of these, what makes the copy, and what is about the solution's results: the executed notebook, its page.
LEFT_OUT = (
    "cs236781/distribution.py",
    "hw4/exercise.py",
    "tests/cs236781/test_browser.py",
    "tests/cs236781/test_distribution.py",
    "tests/test_notebook.py",
)
LEFT_OUT_COMMANDS = ("prepare-dist",)
README = "docs/students.md"  # README.md in the copy

NOT_WRITTEN = "an exercise, not written yet"

LINE_LENGTH = 120


def prepare_dist(*, root: str | Path = PROJECT, out_dir: str | Path = ".") -> Path:
    """Make the students' copy and pack it; returns the archive's path.

    :param root: the project, in a git working tree.
    :param out_dir: the folder the archive goes into.
    :raises OSError: no writing in out_dir, no git, root is no git working tree, or a file is missing.
    :raises ValueError: an exercise is marked in a way that is not understood, or something to be left out is not there.
    """
    root, out_dir = Path(root).resolve(), Path(out_dir)
    check_folder_writable(out_dir)
    contents = students_files(root)
    executable = {name for name in contents if (root / name).is_file() and (root / name).stat().st_mode & 0o100}
    target = out_dir / f"{NAME}.zip"
    archive = zipped(NAME, contents, executable)
    write_whole(target, archive)
    exercises = sum(data.decode().count(NOT_WRITTEN) for name, data in contents.items() if name.startswith("hw4/"))
    print(f"{target}: {len(contents)} files, {len(archive) / 1e6:.2f} MB, {exercises} exercises to write")
    return target


def students_files(root: Path) -> dict[str, bytes]:
    """The students' files, by name: see `prepare_dist`."""
    tracked = _tracked(root)
    missing = [name for name in LEFT_OUT if name not in tracked]
    if missing:
        raise ValueError(f"{missing[0]} is to be left out and is not there: is it called otherwise by now?")
    files = {name: _students_file(root, name) for name in tracked if name not in LEFT_OUT}
    files["README.md"] = (root / README).read_bytes()
    return files


def _tracked(root: Path) -> list[str]:
    command = ["git", "-C", str(root), "ls-files", "-z", "--", *(f":(glob){name}" for name in PACKED)]
    command += [f":(glob){name}/**" for name in PACKED if (root / name).is_dir()]
    try:
        listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise FileNotFoundError("there is no git, which knows the files to pack: install it") from error
    except subprocess.CalledProcessError as error:
        raise OSError(f"git does not list the files of {root} ({' '.join(error.stderr.split())})") from error
    return sorted(filter(None, listing.split("\0")))


def _students_file(root: Path, name: str) -> bytes:
    path = root / name
    if name.endswith(".ipynb"):
        return cleared(path)
    if name.startswith("hw4/") and name.endswith(".py"):
        return without_solutions(path.read_text(encoding="utf-8")).encode()
    if name == "main.py":
        return without_commands(path.read_text(encoding="utf-8"), LEFT_OUT_COMMANDS).encode()
    if name == "pyproject.toml":
        return _with_imports_waiting(path.read_text(encoding="utf-8")).encode()
    return path.read_bytes()


def _with_imports_waiting(pyproject: str) -> str:
    """The linter's settings for code whose imports wait for the exercises that need them."""
    table = "[tool.ruff.lint.per-file-ignores]\n"
    if pyproject.count(table) != 1:
        raise ValueError(f"pyproject.toml has no single table {table.strip()}, where hw4's waiting imports are allowed")
    return pyproject.replace(table, table + '"hw4/*" = ["F401"] # imported for exercises that are yet to be written\n')


# --- solutions out


def without_solutions(source: str) -> str:
    """A module's source with the bodies of its exercises, and its answers, replaced by what is to be done there.

    :raises ValueError: a mark is not understood.
    """
    return cst.parse_module(source).visit(_Emptier()).code


class _Emptier(cst.CSTTransformer):
    def __init__(self) -> None:
        self.scope: list[str] = []

    def visit_ClassDef(self, node: cst.ClassDef) -> None:  # noqa: N802 - libcst's names
        self.scope.append(node.name.value)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:  # noqa: N802
        self.scope.pop()
        return updated_node

    def visit_FunctionDef(self, node: cst.FunctionDef) -> None:  # noqa: N802
        self.scope.append(node.name.value)

    def leave_FunctionDef(  # noqa: N802
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef:
        name = ".".join(self.scope)
        indent = 4 * len(self.scope)
        self.scope.pop()
        marks = [mark for mark in updated_node.decorators if m.matches(mark, _MARK)]
        if not marks:
            return updated_node
        task, start = _read_mark(name, marks[0])
        statement = _not_written(name) if start is None else cst.SimpleStatementLine([cst.Return(start)])
        statement = statement.with_changes(leading_lines=_comment(f"TODO: {task}", indent))
        block = cst.ensure_type(updated_node.body, cst.IndentedBlock)
        docstring = block.body[:1] if updated_node.get_docstring() is not None else []
        return updated_node.with_changes(
            decorators=[mark for mark in updated_node.decorators if mark not in marks],
            body=block.with_changes(body=[*docstring, statement], footer=_blank(block.footer)),
        )

    def leave_Module(self, original_node: cst.Module, updated_node: cst.Module) -> cst.Module:  # noqa: N802
        """Take the import of the mark out; the blank line that may stand above it stays above what follows."""
        body = list(updated_node.body)
        for index, statement in enumerate(body):
            if m.matches(statement, _IMPORT):
                import_ = cst.ensure_type(body.pop(index), cst.SimpleStatementLine)
                if m.matches(body[index], m.SimpleStatementLine([m.Import() | m.ImportFrom()])):
                    body[index] = body[index].with_changes(leading_lines=import_.leading_lines)
                break
        return updated_node.with_changes(body=body)

    def leave_SimpleStatementLine(  # noqa: N802
        self, original_node: cst.SimpleStatementLine, updated_node: cst.SimpleStatementLine
    ) -> cst.SimpleStatementLine:
        if self.scope or not m.matches(updated_node, _ANSWER):
            return updated_node
        assignment = cst.ensure_type(updated_node.body[0], cst.Assign)
        name = cst.ensure_type(assignment.targets[0].target, cst.Name).value
        lines = _comment(f"TODO: Answer the question of the notebook, in Markdown, in place of this text ({name}).", 0)
        return updated_node.with_changes(
            leading_lines=[*_blank(updated_node.leading_lines), *lines],
            body=[assignment.with_changes(value=cst.SimpleString(f'r"""\nYour answer ({name}: {NOT_WRITTEN}).\n"""'))],
        )


_MARK = m.Decorator(m.Call(m.Name("exercise")))
_IMPORT = m.SimpleStatementLine([m.ImportFrom(module=m.Attribute(m.Name("hw4"), m.Name("exercise")))])
_ANSWER = m.SimpleStatementLine(
    [m.Assign([m.AssignTarget(m.Name(m.MatchRegex(r"part\d+_q\d+")))], m.SimpleString() | m.ConcatenatedString())]
)


def _read_mark(name: str, mark: cst.Decorator) -> tuple[str, cst.BaseExpression | None]:
    """The task that a mark carries, and what the function is to return meanwhile, if anything."""
    match cst.ensure_type(mark.decorator, cst.Call).args:
        case [cst.Arg(cst.SimpleString() | cst.ConcatenatedString() as task, None), *rest]:
            text = task.evaluated_value
            start = [argument.value for argument in rest if argument.keyword and argument.keyword.value == "start"]
            if isinstance(text, str) and len(start) == len(rest) <= 1:
                return text, _dedented(start[0]) if start else None
    raise ValueError(f'the exercise {name} is not marked as @exercise("its task") or @exercise("its task", start=...)')


def _not_written(name: str) -> cst.SimpleStatementLine:
    message = cst.SimpleString(f'"{name}: {NOT_WRITTEN}"')
    return cst.SimpleStatementLine([cst.Raise(cst.Call(cst.Name("NotImplementedError"), [cst.Arg(message)]))])


def _dedented(expression: cst.BaseExpression) -> cst.BaseExpression:
    """An expression from a decorator's arguments, as it is laid out a level further to the left."""
    return cst.parse_expression(cst.Module([]).code_for_node(expression).replace("\n    ", "\n"))


def _blank(lines: Sequence[cst.EmptyLine]) -> list[cst.EmptyLine]:
    return [line for line in lines if line.comment is None]


def _comment(text: str, indent: int) -> list[cst.EmptyLine]:
    lines = textwrap.wrap(text, LINE_LENGTH - indent - len("# "), break_long_words=False, break_on_hyphens=False)
    return [cst.EmptyLine(comment=cst.Comment(f"# {line}")) for line in lines]


# --- commands out


def without_commands(source: str, names: Sequence[str]) -> str:
    """The command line's source without some commands: their rows in its table, and the functions that they name.

    :raises ValueError: there is no such command.
    """
    remover = _CommandRemover(names)
    code = cst.parse_module(source).visit(remover).code
    if remover.left:
        raise ValueError(f"main.py has no command {remover.left.pop()}, which is to be left out")
    return code


class _CommandRemover(cst.CSTTransformer):
    def __init__(self, names: Sequence[str]):
        self.left = set(names)
        stems = [name.replace("-", "_") for name in names]
        self.functions = {*stems, *(f"{stem}_arguments" for stem in stems)}

    def leave_FunctionDef(  # noqa: N802
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.RemovalSentinel:
        return cst.RemoveFromParent() if updated_node.name.value in self.functions else updated_node

    def leave_DictElement(  # noqa: N802
        self, original_node: cst.DictElement, updated_node: cst.DictElement
    ) -> cst.DictElement | cst.RemovalSentinel:
        key = updated_node.key
        if isinstance(key, cst.SimpleString) and key.evaluated_value in self.left:
            self.left.discard(str(key.evaluated_value))
            return cst.RemoveFromParent()
        return updated_node
