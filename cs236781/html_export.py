"""One page that shows notebooks with the network off: formulas as MathML, files inside, no scripts.

export_html(["Part1_DeepRL.ipynb"], "part1.html")
"""

import logging
import mimetypes
import re
from collections.abc import Iterable
from html import escape
from pathlib import Path
from urllib.parse import unquote, urlparse

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import pass_context
from jinja2.runtime import Context
from math_core import LatexError, LatexToMathML
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

from cs236781.files import write_whole
from cs236781.jupyter_utils import data_url
from cs236781.notebook_files import read_notebook

_log = logging.getLogger(__name__)


# nbconvert's page, without what it loads from elsewhere. The policy makes the browser hold to that whatever the
# notebook's outputs contain, and keeps scripts in them from running where the page is opened.
_PAGE = """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; font-src data:">
<link rel="icon" href="data:,">
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>
main { max-width: 62rem; margin: 0 auto; padding: 1rem; box-sizing: border-box; }
main img, main video { max-width: 100%; height: auto; }
.jp-RenderedHTMLCommon { overflow-wrap: break-word; }
.jp-RenderedHTMLCommon table { display: block; overflow-x: auto; }
.formula { display: block; overflow-x: auto; overflow-y: hidden; padding: 0.3rem 0; }
.jp-InputArea-editor .highlight { overflow-x: auto; } /* the box around it is a table's row, which does not scroll */
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math; }
@media (max-width: 40rem) {
  main { padding: 0.25rem; }
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
}
@media print { /* paper does not scroll: smaller type, long lines broken; nothing cut by the end of a page */
  :root { --jp-content-font-size1: 12px; --jp-code-font-size: 11px; }
  .jp-RenderedHTMLCommon table { display: table; table-layout: auto; font-size: 10px; }
  .jp-RenderedHTMLCommon :is(th, td) { white-space: normal !important; padding: 0.2em 0.4em; }
  main { max-width: none; padding: 0; }
  .jp-Cell pre { white-space: pre-wrap !important; overflow-wrap: anywhere; word-break: normal !important; }
  .jp-Cell pre, .jp-Cell div, .jp-Cell table, .formula { overflow: visible !important; }
  h1, h2, h3, h4, h5, h6 { break-after: avoid; }
  .formula, tr, img, video { break-inside: avoid; }
  video::-webkit-media-controls { display: none !important; }
}
</style>
{%- endblock -%}
"""

# What a page without scripts can show, best first. Of a widget or a script its plain text is shown.
_SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]

# Commands that MathJax knows and the converter does not.
_MACROS = {"pmb": r"\boldsymbol{#1}", "mathds": r"\mathbb{#1}", "substack": r"\begin{matrix}#1\end{matrix}"}


def export_html(
    paths: Iterable[str | Path], out: str | Path, *, title: str | None = None, base: str | Path | None = None
) -> Path:
    """Merge notebooks, in the order given, into one HTML page that needs no network.

    Formulas become MathML. Plots, videos and files that the notebooks refer to are put inside. What is elsewhere is
    left out, and a formula that cannot be converted stays as its source; a logged warning names each.

    :param paths: the notebooks.
    :param out: the page to write.
    :param title: the page's title; the first notebook's name by default.
    :param base: the folder that relative references start from; the first notebook's by default.
    :raises ValueError: no notebook was given.
    :raises OSError: a notebook is missing, or out cannot be written.
    :raises NotebookError: a file is no notebook.
    """
    notebooks = [Path(path) for path in paths]
    if not notebooks:
        raise ValueError("no notebook to export: give at least one")
    resources = {"metadata": {"name": title or notebooks[0].stem}}
    page, _ = _PageExporter().from_notebook_node(_merged(notebooks), resources)
    page = _self_contained(page, Path(base) if base is not None else notebooks[0].parent)
    write_whole(out, page.encode())
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


class _MathRenderer(IPythonRenderer):
    """Markdown to HTML with every formula as MathML, which browsers typeset by themselves."""

    def inline_math(self, body: str) -> str:
        return _mathml(body, block=False)

    def block_math(self, body: str) -> str:
        return _mathml(body, block=True)

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(rf"\begin{{{name}}}{body}\end{{{name}}}", block=True)


class _PageExporter(HTMLExporter):
    """Exports a notebook as the page above, formulas converted."""

    def __init__(self) -> None:
        super().__init__(raw_template=_PAGE, exclude_anchor_links=True)
        self.config.NbConvertBase.display_data_priority = _SHOWN

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """A Markdown cell as HTML."""
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = _MathRenderer(escape=False, attachments=attachments, exclude_anchor_links=True)
        return MarkdownWithMath(renderer=renderer).render(source)


_converter = LatexToMathML(macros=_MACROS, fancy_error=False, annotation=False)


def _mathml(latex: str, *, block: bool) -> str:
    """A formula as MathML; as its source, with a warning, if it cannot be converted."""
    try:
        formula = _converter.convert_with_local_state(_plain_latex(latex), displaystyle=block)
    except LatexError as error:
        _log.warning("the formula %s stays as its source: %s", " ".join(latex.split()), error)
        formula = f"<code>{escape(latex.strip())}</code>"
    return f'<span class="formula">{formula}</span>' if block else formula


def _plain_latex(latex: str) -> str:
    """LaTeX that means the same and that the converter knows. Environments without a tag are not numbered."""
    latex = re.sub(r"(\\(?:begin|end)\{)split\}", r"\1aligned}", latex)
    if r"\tag" not in latex:
        latex = re.sub(r"(\\(?:begin|end)\{(?:align|equation|gather|multline))\}", r"\1*}", latex)
    elif r"\begin{" not in latex:
        latex = rf"\begin{{equation}}{latex}\end{{equation}}"

    def formula_out_of_text(text: re.Match[str]) -> str:
        return re.sub(r"\$([^$]*)\$", r"}\1\\text{", text[0])

    return re.sub(r"\\text\{[^{}]*\}", formula_out_of_text, latex)


def _self_contained(page: str, base: Path) -> str:
    """The page with the local files it refers to put inside, and references to elsewhere removed."""
    soup = BeautifulSoup(page, "html.parser")
    for tag in soup.find_all(["script", "iframe", "object", "embed", "base"]):
        tag.decompose()
    for tag in soup.find_all("meta", {"http-equiv": re.compile("^refresh$", re.IGNORECASE)}):
        tag.decompose()  # it would lead the reader to another page, and no policy forbids that
    for tag in soup.find_all("link"):
        if not str(tag.get("href", "")).startswith("data:"):
            tag.decompose()
    for tag in soup.find_all(["img", "video", "audio", "source"]):
        for attribute in ("src", "poster"):
            if attribute in tag.attrs and not str(tag[attribute]).startswith("data:"):
                _embed(tag, attribute, base)
        tag.attrs.pop("srcset", None)
    return str(soup)


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
