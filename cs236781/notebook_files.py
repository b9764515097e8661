"""Notebooks read as Jupyter reads them, and written the same way every time.

notebook = read_notebook(Path("Part1_DeepRL.ipynb"))        any format up to 4.5, repaired where Jupyter would
notebook_bytes(notebook)                                    what is written
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.validator import normalize

_log = logging.getLogger(__name__)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_JSON_KIND = re.compile(r"application/(.*\+)?json")
_CONFLICT = re.compile(rb"^(<<<<<<<|=======|>>>>>>>)( |\r?$)", re.MULTILINE)

# What each kind of output must hold, with the value that stands in for a missing one.
_OUTPUTS: dict[str, dict[str, Any]] = {
    "stream": {"name": "stdout", "text": ""},
    "display_data": {"data": {}, "metadata": {}},
    "execute_result": {"data": {}, "metadata": {}, "execution_count": None},
    "error": {"ename": "", "evalue": "", "traceback": []},
}


class NotebookError(RuntimeError):
    """A notebook cannot be read, or a cell failed. The message, one line, says which, where and why."""


def read_notebook(path: Path) -> NotebookNode:
    """The notebook at path, in the current format.

    What Jupyter opens although the format forbids it is repaired, and a logged warning says what: a cell without
    outputs, an id that comes twice. A cell without an id gets one that depends only on its place.

    :raises OSError: there is no file, or it cannot be read.
    :raises NotebookError: it is no notebook.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no notebook {path}")
    data = path.read_bytes()
    try:
        text = json.dumps(json.loads(data), ensure_ascii=False)
        content = json.loads(text.encode(errors="replace"))  # half a character, which JSON can spell, is none
        repairs: Counter[str] = Counter()
        if content["nbformat"] < 4:
            content = _upgraded(content, repairs.update)
        _repair(content, repairs.update)
        _, notebook = normalize(nbformat.from_dict(content), strip_invalid_metadata=True)
        nbformat.validate(notebook)
    except Exception as error:  # what other files raise has no class in common: ValueError, KeyError, TypeError...
        raise NotebookError(f"{path} is not a Jupyter notebook ({_reason(data, error)})") from error
    if repairs:
        what = ", ".join(f"{problem} ({count} times)" if count > 1 else problem for problem, count in repairs.items())
        _log.warning("%s is repaired: %s", path.name, what)
    return notebook


def notebook_bytes(notebook: NotebookNode) -> bytes:
    """A notebook's file."""
    text = nbformat.writes(notebook)
    return (text if text.endswith("\n") else text + "\n").encode(errors="replace")


def _reason(data: bytes, error: Exception) -> str:
    if not data.strip():
        return "it is empty"
    if conflict := _CONFLICT.search(data):
        line = data.count(b"\n", 0, conflict.start()) + 1
        return f"line {line} is a mark of a merge conflict: resolve it"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


_Note = Callable[[list[str]], None]  # takes the repairs that were made


def _upgraded(content: Any, note: _Note) -> Any:
    """A notebook's JSON of the formats before 4 as one of format 4, without ids, which the conversion draws."""
    for sheet in content.get("worksheets", []):
        for cell in sheet["cells"]:
            if cell.get("cell_type") == "code":
                _fill(cell, {"input": "", "outputs": [], "language": "python", "metadata": {}}, "a cell", note)
    upgraded = nbformat.convert(nbformat.reader.reads(json.dumps(content)), 4)
    for cell in upgraded.cells:
        cell.pop("id", None)
    return upgraded


def _repair(content: Any, note: _Note) -> None:
    """Mend the JSON of a notebook of format 4 in place.

    :raises Exception: it is none, of any kind.
    """
    minor = content.setdefault("nbformat_minor", 0)
    _fill(content, {"metadata": {}}, "the notebook", note)
    cells = content["cells"]
    if not isinstance(cells, list):
        raise ValueError("its cells are no list")
    content["nbformat_minor"] = max(minor, 5)  # the first with ids of cells; what is older is valid in it
    if minor <= 5:
        for key in content.keys() - {"nbformat", "nbformat_minor", "metadata", "cells"}:
            note([f"the notebook with {key}"])
            del content[key]
    taken = {cell.get("id") for cell in cells if isinstance(cell.get("id"), str)}
    seen: set[str] = set()
    for index, cell in enumerate(cells, start=1):
        _repair_id(cell, f"cell-{index}", taken, seen, note)
        _repair_cell(cell, note, strict=minor <= 5)


def _repair_id(cell: dict[str, Any], new: str, taken: set[str], seen: set[str], note: _Note) -> None:
    """Give a cell an id if it has none, a malformed one, or that of an earlier cell. `nbformat` would draw one."""
    has = cell.get("id")
    if not (isinstance(has, str) and _ID.fullmatch(has) and has not in seen):
        if has is not None:
            note(["a malformed or repeated id of a cell"])
        while new in taken:
            new += "-"
        taken.add(new)
        cell["id"] = new
    seen.add(cell["id"])


def _repair_cell(cell: dict[str, Any], note: _Note, *, strict: bool) -> None:
    """Mend a cell. Where not strict, the format is newer than this code, and keys that it does not know stay."""
    if cell.get("cell_type") not in ("code", "markdown", "raw"):
        note([f"a cell of the unknown kind {cell.get('cell_type')!r}"])
        cell["cell_type"] = "raw"
    kind = cell["cell_type"]
    _fill(cell, {"metadata": {}, "source": ""}, "a cell", note)
    cell["source"] = re.sub(r"\r\n?", "\n", "".join(cell["source"]))
    if kind == "code":
        _fill(cell, {"outputs": [], "execution_count": None}, "a cell", note)
        if not (cell["execution_count"] is None or _is_count(cell["execution_count"])):
            cell["execution_count"] = None
        cell["outputs"] = [output for output in cell["outputs"] if _repair_output(output, note, strict=strict)]
    if strict:
        _strip(cell, {"code": ["outputs", "execution_count"]}.get(kind, ["attachments"]), note)
    if not isinstance(cell.get("attachments", {}), dict):
        del cell["attachments"]


def _repair_output(output: Any, note: _Note, *, strict: bool) -> bool:
    """Mend an output; returns whether it can be kept."""
    needed = _OUTPUTS.get(str(output.get("output_type"))) if isinstance(output, dict) else None
    if needed is None:
        note(["an output of an unknown kind, left out"])
        return False
    _fill(output, needed, "an output", note)
    if "execution_count" in needed and not _is_count(output["execution_count"]):
        output["execution_count"] = None
    if isinstance(output.get("text"), list):
        output["text"] = "".join(output["text"])
    if "data" in needed:
        for kind, value in output["data"].items():
            lines = value if isinstance(value, list) else [value]
            if not _JSON_KIND.fullmatch(kind):
                output["data"][kind] = "".join(map(str, lines))
    if strict:
        for key in output.keys() - needed.keys() - {"output_type"}:
            del output[key]
    return True


def _fill(holder: dict[str, Any], needed: dict[str, Any], what: str, note: _Note) -> None:
    """Put in what is missing, null or of another type than its stand-in."""
    for key, value in needed.items():
        has = holder.get(key)
        fits = value is None or isinstance(has, type(value)) or (value == "" and isinstance(has, list))
        if key not in holder or not fits:
            note([f"{what} without {key}"])
            holder[key] = value.copy() if isinstance(value, (dict, list)) else value


def _strip(cell: dict[str, Any], own: list[str], note: _Note) -> None:
    """Take out of a cell what its kind does not have."""
    for key in cell.keys() - {"id", "cell_type", "metadata", "source", *own}:
        note([f"a {cell['cell_type']} cell with {key}"])
        del cell[key]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
