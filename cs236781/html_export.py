"""One page that shows notebooks with the network off: formulas as MathML, files inside, no scripts.

export_html(["Part1_DeepRL.ipynb"], "part1.html")
"""

import logging
import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from jinja2.runtime import Context
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from cs236781.files import write_whole
from cs236781.formulas import REFERENCE, Formulas, link_references, resolve_references
from cs236781.html_page import finish
from cs236781.html_style import TEMPLATE
from cs236781.jupyter_utils import data_url
from cs236781.notebook_files import read_notebook

_log = logging.getLogger(__name__)


# What a page without scripts can show, best first. Of a widget or a script its plain text is shown.
_SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


def export_html(paths: Iterable[str | Path], out: str | Path, *, base: str | Path | None = None) -> Path:
    """Merge notebooks, in the order given, into one HTML page that needs no network.

    Its title is the first heading, or the first notebook's name. Formulas become MathML. Plots, videos and files that
    the notebooks refer to are put inside. What is elsewhere is left out, and a formula that cannot be converted stays
    as its source; a logged warning names each.

    :param paths: the notebooks.
    :param out: the page to write.
    :param base: the folder that relative references start from; the first notebook's by default.
    :raises ValueError: no notebook was given.
    :raises OSError: a notebook is missing, or out cannot be written.
    :raises NotebookError: a file is no notebook.
    """
    notebooks = [Path(path) for path in paths]
    if not notebooks:
        raise ValueError("no notebook to export: give at least one")
    exporter = _PageExporter()
    notebook = _merged(notebooks)
    html, _ = exporter.from_notebook_node(notebook)
    page = BeautifulSoup(html, "html.parser")
    _close(page, Path(base) if base is not None else notebooks[0].parent)
    _link_formulas(page, exporter.formulas)
    finish(page, {f"cell-id={cell.id}": cell for cell in notebook.cells}, notebooks[0].stem)
    write_whole(out, str(page).encode(errors="replace"))
    return Path(out)


def _merged(paths: list[Path]) -> NotebookNode:
    """One notebook with the cells of all; ids become unique, LaTeX outputs Markdown."""
    notebooks = [read_notebook(path) for path in paths]
    merged = nbformat.v4.new_notebook(metadata=notebooks[0].metadata)
    merged.metadata.pop("widgets", None)
    merged.metadata.pop("title", None)
    for number, notebook in enumerate(notebooks, start=1):
        for index, cell in enumerate(notebook.cells, start=1):
            cell.id = f"part{number}-{index}"
            for output in cell.get("outputs", []):
                if "text/latex" in output.get("data", {}):  # the same formulas between the same dollars
                    output.data.setdefault("text/markdown", output.data["text/latex"])
            merged.cells.append(cell)
    return merged


class MathRenderer(IPythonRenderer):
    """Markdown to HTML with every formula as MathML.

    :param trusted: whether HTML and links of any kind in the Markdown are taken over.
    """

    def __init__(self, formulas: Formulas, attachments: dict[str, Any], *, trusted: bool = True) -> None:
        super().__init__(
            escape=not trusted,
            allow_harmful_protocols=trusted,
            attachments=attachments,
            exclude_anchor_links=True,
        )
        self._formulas = formulas

    def inline_math(self, body: str) -> str:
        """Between dollars."""
        return self._formulas.mathml(body, block=False)

    def block_math(self, body: str) -> str:
        """Between double dollars."""
        return self._formulas.mathml(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        """From a begin to its end."""
        return self._formulas.mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)


class _PageExporter(HTMLExporter):
    """Exports a notebook as the page of `html_style`, formulas converted."""

    def __init__(self) -> None:
        super().__init__(raw_template=TEMPLATE, exclude_anchor_links=True)
        self.config.NbConvertBase.display_data_priority = _SHOWN
        self.formulas: dict[str, Formulas] = {}  # of each notebook, by how the ids of its cells begin

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """A Markdown cell, or an output in Markdown, as HTML."""
        cell = context["cell"]
        part = cell.id.partition("-")[0] + "-"
        formulas = self.formulas.setdefault(part, Formulas(part))
        return MarkdownWithMath(renderer=MathRenderer(formulas, cell.get("attachments", {}))).render(source)


def _link_formulas(page: BeautifulSoup, formulas: dict[str, Formulas]) -> None:
    """Make the references to formulas links that show their numbers."""
    for prefix, of_its_notebook in formulas.items():
        for cell in page.select(f'[id^="cell-id={prefix}"]'):
            for text in cell.find_all(string=REFERENCE):
                if text.find_parent(["code", "pre", "math"]) is None:
                    link_references(text, of_its_notebook)
    resolve_references(page)


def _close(page: BeautifulSoup, base: Path) -> None:
    """Put the local files that the page refers to inside, and remove references to elsewhere."""
    for tag in page.find_all(["script", "iframe", "object", "embed", "base"]):
        tag.decompose()
    for tag in page.find_all("meta", {"http-equiv": re.compile("^refresh$", re.IGNORECASE)}):
        tag.decompose()  # it would lead the reader to another page, and no policy forbids that
    for tag in page.find_all("link"):
        if not str(tag.get("href", "")).startswith("data:"):
            tag.decompose()
    for tag in page.find_all(["img", "video", "audio", "source"]):
        for attribute in ("src", "poster"):
            if attribute in tag.attrs and not str(tag[attribute]).startswith("data:"):
                _embed(tag, attribute, base)
        tag.attrs.pop("srcset", None)


def _embed(tag: Tag, attribute: str, base: Path) -> None:
    """Put the file that a tag's attribute names inside the page; remove the attribute if that cannot be done."""
    reference = str(tag[attribute])
    address = urlparse(reference)
    file = (base / unquote(address.path)).resolve()
    inside = file.is_relative_to(base.resolve()) and file.is_file()
    if address.scheme or address.netloc or not inside:
        _log.warning("not in the page, since it is no file in the notebook's folder: %s", reference)
        del tag[attribute]
        return
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    tag[attribute] = data_url(kind, file.read_bytes())
