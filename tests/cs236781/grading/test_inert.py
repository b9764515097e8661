r"""In the process of its own are only the cases that end it; the others are rendered here."""

import re
import string

import pytest
from bs4 import BeautifulSoup, Comment
from hypothesis import given
from hypothesis import strategies as st

from cs236781.grading import inert
from cs236781.grading.inert import inert_html, render

ATTRIBUTES_THAT_ACT = re.compile(r"on.*|src|srcset|href|xlink:href|action|formaction|data|background|poster|class|name")

# Wide tables, which take far more than a second.
SLOW = f"{'|a' * 3000}|\n{'|-' * 3000}|\n{'|b' * 3000}|\n\n" * 60


def rendered(text):
    return BeautifulSoup(render({"q": text}, "me-")["q"], "html.parser")


def test_markdown_and_formulas_are_shown():
    page = rendered("**Why** $x^2$ and `code`\n\n- one\n\n| a |\n|--:|\n| $\\frac12$ |\n\n```\n<b>\n```\n")
    assert page.strong.get_text() == "Why"
    assert page.msup.get_text() == "x2"
    assert page.td.mfrac.get_text() == "12"
    assert page.th["style"] == "text-align:right"
    assert page.pre.get_text() == "<b>\n"


def test_an_indented_answer_is_no_code():
    assert rendered("\n    Because.\n    So.\n").find("pre") is None


def test_macros_and_numbers_hold_from_text_to_text():
    texts = {"a": r"$\newcommand{\half}{\frac12}$ $$ x = 1 \label{one} $$", "b": r"$\half$ by \eqref{one}"}
    page = BeautifulSoup("".join(render(texts, "me-").values()), "html.parser")
    assert page.mfrac is not None
    assert page.a.get_text() == "(1)"
    assert page.find(id=page.a["href"].removeprefix("#")).get_text() == "(1)"


def test_headings_go_below_the_pages():
    page = rendered("# one\n\n### three\n\n###### six")
    assert [(tag.name, tag.get_text()) for tag in page.find_all(re.compile("^h"))] == [
        ("h4", "one"),
        ("h6", "three"),
        ("h6", "six"),
    ]


def test_links_lead_to_the_web_only():
    page = rendered(
        "[a](https://x.org) [b](mailto:a@b.c) [c](javascript:alert(1)) [d](JaVaScRiPt:alert(1)) [e](data:text/html,x) "
        "[f](file:///etc/passwd) [g](#question-1) [h](//x.org) [i](<java\nscript:x>) <vbscript:x> "
        "[j](&#106;avascript:x)"
    )
    assert [link["href"] for link in page.find_all("a", href=True)] == ["https://x.org", "mailto:a@b.c"]
    assert {" ".join(link["rel"]) for link in page.find_all("a", href=True)} == {"noopener noreferrer"}


def test_pictures_are_told_only():
    page = rendered("![the *curve*](http://x.org/a.png) ![](b.png) ![x](attachment:c)")
    assert [tag.get_text() for tag in page.find_all("em")] == [
        "[a picture: the curve]",
        "[a picture: b.png]",
        "[a picture: x]",
    ]


def test_a_formula_hides_and_covers_nothing():
    page = rendered(r"$\color{white}x$ $\begin{array}{c|c}1&2\end{array}$")
    assert [
        tag["style"] for tag in page.find_all(style=True) if "color" in tag["style"].replace("currentcolor", "")
    ] == []
    assert any("border-right" in tag["style"] for tag in page.find_all(style=True))


PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a <b onclick=alert(1)>b</b>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<!-- --><iframe src=//x.org>",
    "<math><mi xlink:href=javascript:alert(1)>x</mi></math>",
    "```mermaid\n</pre><script>alert(1)</script>\n```",
    '```"><script>alert(1)</script>\n```',
    "```python\n<script>\n```",
    "    <script>alert(1)</script>",
    '[x](https://a"onmouseover=alert(1)//)',
    '[x](https://a "\\"><script>alert(1)</script>")',
    '![x"><script>alert(1)</script>](y "><script>")',
    "[a]: javascript:alert(1)\n\n[a]",
    r"$\text{<script>alert(1)</script>}$",
    r"$\href{javascript:alert(1)}{x}$ $\url{javascript:alert(1)}$",
    r"$$x\tag{<img src=x onerror=alert(1)>}\label{\"><script>}$$ \ref{\"><script>} \eqref{<script>}",
    r"$\operatorname{<img src=x>}$ $\mbox{</math><script>alert(1)</script>}$",
    r"$\undefined<script>alert(1)</script>$",
    r"\begin{<script>}x\end{<script>} \begin{align}<script>\end{align}",
    r"$\newcommand{\a}{<script>}\text{\a}$",
    "| <script> |\n|---|\n| <img src=x onerror=alert(1)> |",
    "- [x] <script>",
    "term\n: <script>alert(1)</script>",
    "https://x.org/<script>",
]


def assert_inert(page):
    assert {tag.name for tag in page.find_all(True)} <= inert._TAGS
    for tag in page.find_all(True):
        acting = {name for name in tag.attrs if ATTRIBUTES_THAT_ACT.fullmatch(name.lower())}
        assert acting <= {"a": {"href"}, "span": {"class"}}.get(tag.name, set())
        assert tag.get("href", "https://").startswith(("https://", "http://", "mailto:", "#me-"))
        assert tag.get("id", "me-").startswith("me-")
        assert tag.get("class", ["formula"]) == ["formula"]


@pytest.mark.parametrize("text", PAYLOADS)
def test_hostile_text_does_nothing(text):
    assert_inert(rendered(text))


@pytest.mark.parametrize(
    "text", [*PAYLOADS, "<script><img src=x onerror=alert(1)></script>", "<style><img src=x></style>"]
)
def test_the_list_of_tags_holds_by_itself(monkeypatch, text):
    def as_it_is(self, html):
        return html

    monkeypatch.setattr(inert._Renderer, "inline_html", as_it_is)
    monkeypatch.setattr(inert._Renderer, "block_html", as_it_is)
    page = rendered(text)
    assert_inert(page)
    assert page.find(string=lambda string: isinstance(string, Comment)) is None


PIECES = [
    "<script>",
    "</script>",
    "<img src=x onerror=a>",
    "$",
    "$$",
    "`",
    "```",
    "\n",
    "\n\n",
    "|",
    "[a](",
    "javascript:a",
]
PIECES += [
    ")",
    "](",
    "![",
    "<",
    ">",
    '"',
    "'",
    r"\text{",
    "}",
    r"\begin{align}",
    r"\end{align}",
    "- ",
    "> ",
    "&lt;",
    "\\",
]
PIECES += [r"\label{a}", r"\ref{a}", "https://a", *string.ascii_letters[:3]]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_what_hostile_pieces_make_together_does_nothing(text):
    assert_inert(rendered(text))


def test_what_ends_the_process_costs_itself_only(monkeypatch):
    monkeypatch.setattr(inert, "_SECONDS", 1)
    bad = {"good": "two", "slow": SLOW}
    assert inert_html([{"q": "one"}, bad]) == [{"q": "<p>one</p>\n"}, {"good": "<p>two</p>\n"}]


def test_any_text_reaches_the_process():
    texts = {"q": "\ud800 \0 \x1b שלום\r\nline", "other": ""}
    assert inert_html([texts, {}]) == [{"q": "<p>\ud800 \ufffd \ufffd שלום\nline</p>\n", "other": ""}, {}]


def test_nobody_is_blamed_if_nothing_can_be_rendered(monkeypatch):
    monkeypatch.setattr(inert.sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="does not start"):
        inert_html([{"q": "one"}])


def test_nothing_is_started_for_nobody(monkeypatch):
    monkeypatch.setattr(inert.sys, "executable", "/bin/false")
    assert inert_html([]) == []
