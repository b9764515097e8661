r"""Markdown with formulas, by hostile hands perhaps, as HTML that shows it and does nothing.

    inert_html([{"q1": r"Since $\gamma < 1$ ..."}])         -> [{"q1": "<p>Since <math>..."}]

Three things stand between such a text and the reader's browser. The renderer escapes HTML. Of the tags and attributes
that come out, only those of a list stay. And the page that they go into has a policy against scripts and loading.

The texts are rendered in a process of their own, under limits: a formula can be made that ends the process, or that
takes all time or memory. This file is that process's program, too.
"""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from textwrap import dedent

from bs4 import BeautifulSoup, Tag
from bs4.element import PreformattedString
from nbconvert.filters.markdown_mistune import MarkdownWithMath

from cs236781.formulas import REFERENCE, Formulas, link_references, resolve_references
from cs236781.html_export import MathRenderer

_PROJECT = Path(__file__).resolve().parents[2]
_SECONDS = 10  # of processor time, for the texts of one author; honest ones take a tenth
_MEMORY = 2 * 2**30  # bytes
_STARTED = b"started\n"

_HTML = "p br hr h4 h5 h6 ul ol li dl dt dd blockquote pre code em strong del table thead tbody tr th td a span"
_MATHML = (
    "math mrow mi mn mo mtext mspace ms mfrac msqrt mroot msub msup msubsup munder mover munderover mmultiscripts "
    "mprescripts none mtable mtr mtd mpadded mphantom mstyle menclose"
)
_TAGS = set(f"{_HTML} {_MATHML}".split())
_OF_FORMULAS = (
    "accent accentunder columnalign columnlines columnspacing columnspan depth display displaystyle fence form height "
    "largeop linethickness lspace mathvariant maxsize minsize movablelimits notation rowlines rowspacing rspace "
    "scriptlevel separator stretchy symmetric voffset width"
)
_ATTRIBUTES = {"start", *_OF_FORMULAS.split()}  # start is a list's first number
# Borders and places in tables. No colours, which could hide text in light or in dark.
_STYLE = re.compile(
    r"(?:\s*(?:width|text-align|justify-items|padding-(?:left|right|top|bottom)|border-(?:left|right|top|bottom))"
    r"\s*:\s*[\w.% -]+;?)+\s*",
    re.ASCII,
)
_LINK = re.compile(r"(?:https?://|mailto:)[^\s]+", re.IGNORECASE)
_WIDE = 24  # characters of a formula that a phone may not have room for
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def inert_html(authors: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The HTML of each author's texts, by the same names. A text that cannot be rendered is left out.

    :raises RuntimeError: nothing can be rendered at all.
    """
    pages = _in_processes([(f"author{number}-", texts) for number, texts in enumerate(authors)])
    shown = []
    for number, (texts, page) in enumerate(zip(authors, pages, strict=True)):
        if page is None:  # then one of them is bad, and the others are rendered without it
            apart = [(f"author{number}-{place}-", {name: texts[name]}) for place, name in enumerate(texts)]
            page = {}
            for rendered in _in_processes(apart) if len(apart) > 1 else []:
                page |= rendered or {}
        shown.append(page)
    return shown


def _in_processes(tasks: Sequence[tuple[str, Mapping[str, str]]]) -> list[dict[str, str] | None]:
    """What `render` gives for each task, a prefix and texts; None for a task that ends its process."""
    done: list[dict[str, str] | None] = []
    while len(done) < len(tasks):
        # One process renders all, as it takes a second to start. Where it ends early, the task at hand was why.
        run = subprocess.run(
            [sys.executable, "-m", "cs236781.grading.inert", str(_SECONDS)],
            input="".join(f"{json.dumps([prefix, dict(texts)])}\n" for prefix, texts in tasks[len(done) :]).encode(),
            capture_output=True,
            env={**os.environ, "PYTHONPATH": str(_PROJECT)},
            check=False,
        )
        started, *lines = run.stdout.splitlines(keepends=True) or [b""]
        if started != _STARTED:
            reason = run.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
            raise RuntimeError(f"the process that renders Markdown does not start: {reason}")
        done += [json.loads(line) for line in lines if line.endswith(b"\n")]
        if len(done) < len(tasks):
            done.append(None)
    return done


def main(seconds: str) -> None:
    """Render the tasks that come in, a line for each.

    :param seconds: of processor time for each.
    """
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print(_STARTED.decode(), end="", flush=True)
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, float(seconds))  # its signal ends the process, whatever runs
        prefix, texts = json.loads(line)
        print(json.dumps(render(texts, prefix)), flush=True)


def render(texts: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The texts of one author, whose formulas know each other, as in a notebook; without limits.

    :param prefix: of the ids that they get.
    """
    formulas = Formulas(prefix)
    page = BeautifulSoup("", "html.parser")
    parts: dict[str, Tag] = {}
    for name, text in texts.items():
        plain = _CONTROL.sub("\ufffd", dedent(text.replace("\r\n", "\n")).strip())
        html = MarkdownWithMath(renderer=_Renderer(formulas)).render(plain)
        parts[name] = page.new_tag("section")
        parts[name].append(BeautifulSoup(html, "html.parser"))
        page.append(parts[name])
    for node in page.find_all(string=REFERENCE):
        if node.find_parent(["code", "pre", "math"]) is None:
            link_references(node, formulas)
    resolve_references(page)
    for part in parts.values():
        for tag in part.find_all(True):
            _disarm(tag, prefix)
        for node in part.find_all(string=lambda text: isinstance(text, PreformattedString)):
            node.extract()  # comments and the like
    return {name: part.decode_contents() for name, part in parts.items()}


class _Renderer(MathRenderer):
    """Without the pictures and the code that are more than text."""

    def __init__(self, formulas: Formulas) -> None:
        super().__init__(formulas, {}, trusted=False)

    def block_code(self, code: str, info: str | None = None) -> str:
        return f"<pre><code>{escape(code)}</code></pre>\n"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        return f"<em>[a picture: {escape(BeautifulSoup(text, 'html.parser').get_text() or url)}]</em>"


def _disarm(tag: Tag, prefix: str) -> None:
    """Take from a tag what is not on the lists. Headings go below those of the page."""
    if heading := re.fullmatch(r"h([1-6])", tag.name):
        tag.name = f"h{min(6, int(heading[1]) + 3)}"
    if tag.name not in _TAGS:
        tag.unwrap()
        return
    attributes = {name: str(value) for name, value in tag.attrs.items()}
    tag.attrs = {name: value for name, value in attributes.items() if name in _ATTRIBUTES}
    if _STYLE.fullmatch(attributes.get("style", "")):
        tag["style"] = attributes["style"]
    if attributes.get("id", "").startswith(prefix):
        tag["id"] = attributes["id"]
    if tag.name == "th" and not tag.get_text().strip():
        tag.name = "td"  # an empty heading heads nothing
    if tag.name == "span":
        tag["class"] = "formula"  # no other spans come out
        if len(tag.get_text()) > _WIDE:
            tag["tabindex"] = "0"  # it may scroll, and the keyboard has to reach it
    if tag.name == "a":
        address = attributes.get("href", "")
        if address.startswith(f"#{prefix}"):
            tag["href"] = address
        elif _LINK.fullmatch(address):
            tag.attrs |= {"href": address, "rel": "noopener noreferrer"}


if __name__ == "__main__":
    main(*sys.argv[1:])
