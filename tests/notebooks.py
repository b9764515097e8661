"""Notebooks made for a test."""

from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook


def write_notebook(path: Path, *cells: str | nbformat.NotebookNode, **metadata: Any) -> Path:
    """Write a notebook of strings (code cells) and cells; its kernel is one that no machine has."""
    kernel = {"name": "not-installed", "display_name": "?", "language": "python"}
    made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    for index, cell in enumerate(made):
        cell.id = f"c{index}"
    nbformat.write(new_notebook(cells=made, metadata={"kernelspec": kernel, **metadata}), path)
    return path
