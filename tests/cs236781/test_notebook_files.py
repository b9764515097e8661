"""Notebooks that others wrote: older formats, other encodings, what Jupyter opens although the format forbids it."""

import json

import pytest

from cs236781.notebook_files import NotebookError, notebook_bytes, read_notebook

CODE = {"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
TEXT = {"cell_type": "markdown", "metadata": {}, "source": "# x"}


def notebook(*cells, minor=5, **keys):
    return {"nbformat": 4, "nbformat_minor": minor, "metadata": {}, "cells": list(cells), **keys}


@pytest.fixture
def read(tmp_path):
    def read_content(content):
        path = tmp_path / "a.ipynb"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return read_notebook(path)

    return read_content


WRITTEN = json.dumps(notebook(TEXT), indent=1)


@pytest.mark.parametrize(
    "data",
    [WRITTEN.encode("utf-8-sig"), WRITTEN.replace("\n", "\r\n").encode(), WRITTEN.encode("utf-16")],
    ids=["byte order mark", "Windows' line ends", "UTF-16"],
)
def test_encodings(read, data):
    assert read(data).cells[0].source == "# x"


def test_ids_in_a_format_before_they_were_introduced(read, caplog):
    result = read(notebook(CODE | {"id": "mine"}, TEXT, minor=4))
    assert [cell.id for cell in result.cells] == ["mine", "cell-2"]
    assert not caplog.records


def test_ids_are_mended_and_depend_on_the_place_only(read, caplog):
    cells = [CODE | {"id": "a"}, CODE | {"id": "a"}, CODE | {"id": "no good"}, CODE | {"id": "cell-2"}]
    ids = [cell.id for cell in read(notebook(*cells)).cells]
    assert ids == ["a", "cell-2-", "cell-3", "cell-2"]
    assert "id of a cell (2 times)" in caplog.text


def test_what_is_missing_is_put_in_with_one_warning(read, caplog):
    result = read(notebook({"cell_type": "code"}, {"cell_type": "code", "outputs": [{"output_type": "stream"}]}))
    assert [cell.source for cell in result.cells] == ["", ""]
    assert result.cells[0].outputs == []
    assert result.cells[1].outputs == [{"output_type": "stream", "name": "stdout", "text": ""}]
    assert len(caplog.records) == 1
    assert "a cell without outputs" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        notebook(CODE | {"outputs": [{"output_type": "display_data", "data": {"text/plain": 3}}]}),
        notebook(CODE | {"outputs": [{"output_type": "pyout"}, None]}),
        notebook(CODE | {"metadata": {"collapsed": 3, "tags": "x"}}),
        notebook(TEXT | {"outputs": [], "execution_count": 1, "attachments": None}),
        notebook({"cell_type": "heading", "source": "x", "level": 1}),
        notebook(metadata={"kernelspec": {"name": "x"}, "language_info": {}}, other=1),
        notebook(CODE | {"new": 1}, minor=9, new=1),
        {"nbformat": 4, "cells": [TEXT]},
    ],
    ids=["text", "outputs", "metadata", "keys", "kind", "top", "newer", "no metadata"],
)
def test_what_jupyter_opens_is_read_and_written_as_valid(read, content):
    written = notebook_bytes(read(content))
    assert notebook_bytes(read(written)) == written


def test_format_3(read):
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Title"]},
        {"cell_type": "code", "input": ["1\n", "2"], "language": "python"},
        {"cell_type": "code", "input": "3", "language": "python", "outputs": [{"output_type": "pyout", "text": ["3"]}]},
    ]
    content = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    result = read(content)
    assert [cell.source for cell in result.cells] == ["## Title", "1\n2", "3"]
    assert [cell.id for cell in result.cells] == ["cell-1", "cell-2", "cell-3"]
    assert result.cells[2].outputs[0].data["text/plain"] == "3"


def test_line_ends_in_a_cell(read):
    assert read(notebook(CODE | {"source": ["a\r\n", "b\rc"]})).cells[0].source == "a\nb\nc"


def test_half_a_character_can_be_written(read):
    assert b"'?'" in notebook_bytes(read(notebook(CODE | {"source": "'\ud800'"})))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it is empty"),
        (b"{}", "it has no 'nbformat'"),
        (b"[1]", ""),
        (b"not json", "line 1 column 1"),
        (WRITTEN.encode()[:-9], "line"),
        (WRITTEN.replace("# x", "\xe9").encode("latin-1"), "utf-8"),
        (b'{\n<<<<<<< HEAD\n "a": 1\n=======\n', "line 2 is a mark of a merge conflict"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "cells": 3}', "no list"),
        (b'{"nbformat": 4, "cells": [null]}', ""),
        (b'{"nbformat": "4", "cells": []}', ""),
        (b'{"nbformat": 3}', "worksheets"),
        (b'{"nbformat": 5, "cells": []}', ""),
        (b"[" * 100_000, "recursion"),
    ],
    # By default the bytes are the id.
    ids=["empty", "object", "list", "text", "cut", "latin", "conflict", "cells", "cell", "version", "v3", "v5", "deep"],
)
def test_other_files_are_refused_in_one_line(read, data, reason):
    with pytest.raises(NotebookError, match=f"a.ipynb is not a Jupyter notebook .*{reason}") as caught:
        read(data)
    assert len(str(caught.value).splitlines()) == 1
