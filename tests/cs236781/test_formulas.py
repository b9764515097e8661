"""Formulas as MathML: what one cell defines and another uses, numbers, references."""

import itertools

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_output

from cs236781.formulas import Formulas
from cs236781.html_export import export_html
from tests.notebooks import write_notebook


def text(latex, formulas):
    return BeautifulSoup(formulas.mathml(latex, block=True), "html.parser").get_text()


@pytest.fixture
def page(tmp_path):
    def export(*cells, more=()):
        paths = [write_notebook(tmp_path / "Part1_A.ipynb", *map(new_markdown_cell, cells))]
        if more:
            paths.append(write_notebook(tmp_path / "Part2_B.ipynb", *map(new_markdown_cell, more)))
        return BeautifulSoup(export_html(paths, tmp_path / "page.html").read_text(), "html.parser")

    return export


@pytest.mark.parametrize(
    ("definition", "use", "shown"),
    [
        (r"\newcommand{\x}{y}", r"\x^2", "y2"),
        (r"\newcommand\x{y}", r"\x", "y"),
        (r"\newcommand*{\x}[2]{#2#1}", r"\x{a}{b}\x cd", "badc"),
        (r"\newcommand{\x}[2][z]{#1#2}", r"\x{a} \x[b]{c}", "zabc"),
        (r"\renewcommand{\alpha}{y}", r"\alpha", "y"),
        (r"\newcommand{\R}{\mathbb{R}} \newcommand{\R}{Q}", r"\R", "Q"),
        (r"\providecommand{\x}{y} \providecommand{\x}{z}", r"\x", "y"),
        (r"\def\x#1{y#1}", r"\x{1}", "y1"),
        (r"\global\def\x{y}", r"\x", "y"),
        (r"\gdef\x{y}", r"\x", "y"),
        (r"\let\x=\beta", r"\x", "β"),
        (r"\DeclareMathOperator{\x}{KL}", r"\x", "KL"),
        (r"\DeclareMathOperator*{\x}{arg\,min}", r"\x_y", "arg\u2009miny"),
        (r"\newenvironment{x}[1]{\begin{matrix}#1&}{\end{matrix}}", r"\begin{x}{a}b\end{x}", "ab"),
        (r"\newcommand{\x}{\z} \newcommand{\z}{y}", r"\x", "y"),
        (r"\newcommand{\x}{y} = ", r"\x", "y"),
    ],
)
def test_what_is_defined_in_one_formula_is_known_in_the_next(caplog, definition, use, shown):
    formulas = Formulas("p-")
    formulas.mathml(definition, block=False)
    assert text(use, formulas).replace(" ", "\u2009") == shown
    assert not caplog.records


def test_a_formula_that_only_defines_shows_nothing():
    assert Formulas("p-").mathml(r"\newcommand{\x}{y}", block=True) == ""


@pytest.mark.parametrize(
    "latex",
    [
        *(r"\newcommand{\x}{", r"\def\x", r"\x", r"\newcommand{\x}[a]{b}", r"\def\x{\x}\x", r"\let\x"),
        pytest.param("{" * 20_000 + "x" + "}" * 20_000, id="deep"),
        pytest.param(r"\hat" * 20_000 + "x", id="long"),
    ],
)
def test_what_cannot_be_converted_stays_as_its_source(caplog, latex):
    assert text(latex, Formulas("p-")) == latex
    assert "stays as its source" in caplog.text


def test_optional_arguments_of_optional_arguments_come_to_an_end(caplog):
    formulas = Formulas("p-")
    formulas.mathml(r"\newcommand{\a}[1][x]{y}", block=False)
    for before, name in itertools.pairwise("abcdefghijklm"):
        default = 4 * f"\\{before}"
        formulas.mathml(rf"\newcommand{{\{name}}}[1][{default}]{{#1}}", block=False)
    assert text(r"\m", formulas) == r"\m"
    assert "stays as its source" in caplog.text


def test_an_environment_defined_by_itself_comes_to_an_end(caplog):
    formulas = Formulas("p-")
    formulas.mathml(r"\newenvironment{x}{\begin{x}}{\end{x}}", block=True)
    assert formulas.mathml(r"\begin{x}a\end{x}", block=True)


@pytest.mark.parametrize(
    "latex",
    [
        r"\begin{eqnarray} a &=& b \\ c &=& d \end{eqnarray}",
        r"\begin{flalign} a &= b \end{flalign}",
        r"\begin{alignat}{2} a &= b \end{alignat}",
        r"\begin{align*} a &= b \tag{7} \\ c &= d \end{align*}",
        r"\mbox{where $x$ is} > \textrm{0}",
        r"\require{ams} \mathbbm{1}",
    ],
)
def test_what_the_converter_does_not_know_by_itself(caplog, latex):
    assert "<math" in Formulas("p-").mathml(latex, block=True)
    assert not caplog.records


def test_macros_reach_later_cells_and_outputs_and_end_with_the_notebook(page, caplog):
    shown = page(r"$\newcommand{\half}{\frac12}$", r"$$\half$$", more=[r"$\half$"])
    assert len(shown.find_all("mfrac")) == 1
    assert "newcommand" not in shown.main.get_text()
    assert r"\half" in caplog.text


def test_macros_reach_outputs(tmp_path):
    latex = new_output("display_data", {"text/latex": r"$\half$", "text/plain": "?"})
    path = write_notebook(tmp_path / "a.ipynb", new_markdown_cell(r"$\newcommand{\half}{\frac12}$"), "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [latex]
    nbformat.write(notebook, path)
    assert "<mfrac>" in export_html([path], tmp_path / "page.html").read_text()


def test_references_show_numbers_and_lead_to_their_formulas(page, caplog):
    shown = page(
        r"By \eqref{later} and $\eqref{eq: x_1}$, that is formula \ref{eq: x_1}, but `\ref{code}`.",
        r"$$a = b \label{eq: x_1}$$",
        "\\begin{align}\nc &= d \\label{later} \\\\\ne &= f \\tag{T} \\label{named}\n\\end{align}",
        r"See \eqref{named}, \ref{named}.",
    )
    links = [link for link in shown.main.find_all("a") if "formula" in link.get("href", "")]
    assert [link.get_text() for link in links] == ["(2)", "(1)", "1", "(T)", "T"]
    for link in links:
        target = shown.find_all(id=link["href"].removeprefix("#"))
        assert [tag.get_text() for tag in target] == [f"({link.get_text().strip('()')})"]
    assert shown.find("code", string=r"\ref{code}")
    assert not caplog.records


def test_the_same_label_in_two_notebooks(page):
    shown = page(r"$$a \label{x}$$ \ref{x}", more=[r"$$b \label{x}$$ \ref{x}"])
    assert len({link["href"] for link in shown.select('a[href*="formula"]')}) == 2


def test_a_label_that_is_missing_or_comes_twice_is_named(page, caplog):
    shown = page(r"$$a \label{x}$$ $$b \label{x}$$ \ref{x}, \eqref{none}")
    assert "???" in shown.main.get_text()
    assert "x comes twice" in caplog.text
    assert "none" in caplog.text


def test_formulas_without_a_label_have_no_number(page):
    assert "(1)" not in page("$$\\begin{align} a &= b \\end{align}$$").main.get_text()
