r"""LaTeX formulas as MathML, which browsers typeset by themselves.

    formulas = Formulas("part1-")
    formulas.mathml(r"\newcommand{\half}{\frac12}", block=False)        -> "", and \half is known from now on
    formulas.mathml(r"x = \half \label{x}", block=True)                 -> MathML with the number (1)

As with MathJax in Jupyter, what a formula defines holds for all that come after it. What has a label is numbered;
`resolve_references` puts the numbers where a finished page refers to them, in formulas and in its text.
"""

import logging
import re
from collections.abc import Iterator
from html import escape

from bs4 import BeautifulSoup, NavigableString, Tag
from math_core import LatexError, LatexToMathML

_log = logging.getLogger(__name__)

# Commands that MathJax knows and the converter does not.
_MACROS = {
    "pmb": r"\boldsymbol{#1}",
    "mathds": r"\mathbb{#1}",
    "mathbbm": r"\mathbb{#1}",
    "substack": r"\begin{matrix}#1\end{matrix}",
}
_ENVIRONMENTS = {"split": "aligned", "flalign": "align", "alignat": "align", "eqnarray": "align"}
_NUMBERED = r"(?:equation|align|gather|multline)"

_DEFINITION = re.compile(
    r"(?:\\global\s*)?\\(newcommand|renewcommand|providecommand|DeclareMathOperator|newenvironment|renewenvironment"
    r"|[gex]?def|let)(\*?)(?![A-Za-z])"
)
_NUMBER = re.compile(r"\\(?:label|tag\*?)\s*\{[^{}]*\}")
REFERENCE = re.compile(r"\\(eqref|ref)\s*\{([^{}]*)\}")
_TEXT = re.compile(r"\\text\{((?:[^{}]|\{[^{}]*\})*)\}")
_MAX_DEPTH = 300  # of braces; the converter ends the process at some thousands, of braces or of commands
_MAX_COMMANDS = 3000
_MAX_LENGTH = 100_000  # of a formula whose optional arguments are written out; macros of macros grow fast
_MAX_USES = 100  # of an environment in a formula; one may be defined by itself
_UNKNOWN = "(??)"  # what the converter writes for the number of a formula that it has not seen


class Formulas:
    """The formulas of one notebook, in their order.

    :param prefix: of the ids in the page; it has letters, digits and hyphens.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}formula-"
        self._converter = LatexToMathML(
            macros=_MACROS, id_prefix=self._prefix, fancy_error=False, annotation=False, global_group=True
        )
        self._defaults: dict[str, str] = {}  # of the optional argument, by the command's name
        self._environments: dict[str, tuple[int, str, str]] = {}  # number of arguments, begin, end
        self._labels: set[str] = set()

    def mathml(self, latex: str, *, block: bool) -> str:
        """A formula as MathML; as its source, with a warning, if it cannot be converted; empty if it only defines."""
        try:
            if _depth(latex) > _MAX_DEPTH:
                raise ValueError(f"its braces are nested more than {_MAX_DEPTH} deep")
            if latex.count("\\") > _MAX_COMMANDS:
                raise ValueError(f"it has more than {_MAX_COMMANDS} commands")
            rest = "".join(self._without_definitions(latex))
            if not rest.strip():
                return ""
            formula = self._converter.convert_with_global_state(self._plain(rest), displaystyle=block)
        except (LatexError, IndexError, ValueError) as error:
            _log.warning("the formula %s stays as its source: %s", " ".join(latex.split())[:200], error)
            formula = f"<code>{escape(latex.strip())}</code>"
        return f'<span class="formula">{formula}</span>' if block else formula

    def reference(self, label: str, *, bare: bool) -> str:
        """The id that a reference leads to, marked where it shows a number without parentheses."""
        return f"{self._prefix}{'ref:' if bare else ''}{_plain_label(label)}"

    # --- definitions

    def _without_definitions(self, latex: str) -> Iterator[str]:
        """The parts of a formula that define nothing. What the others define is known afterwards."""
        place = 0
        while found := _DEFINITION.search(latex, place):
            yield latex[place : found.start()]
            place = self._define(found[1], bool(found[2]), latex, found.end())
        yield latex[place:]

    def _define(self, how: str, starred: bool, latex: str, place: int) -> int:
        """Take in the definition whose command ends at place; returns where it ends itself.

        :raises IndexError: it has no end.
        """
        name, place = _argument(latex, place)
        if how == "let":
            value, place = _argument(latex, _after(latex, place, r"\s*=?"))
            self._tell(rf"\let{name}{value}")
            return place
        if how.endswith("def"):
            body = latex.index("{", place) if "{" in latex[place:] else len(latex)
            parameters = latex[place:body].strip()
            value, place = _argument(latex, body)
            self._tell(rf"\gdef{name}{parameters}{{{self._own(value)}}}")
            return place
        count, place = _option(latex, place)
        default, place = _option(latex, place)
        value, place = _argument(latex, place)
        if how.endswith("environment"):
            end, place = _argument(latex, place)
            self._environments[name] = (int(count or 0), value, end)
        elif how == "DeclareMathOperator":
            self._tell(rf"\gdef{name}{{\operatorname{'*' if starred else ''}{{{value}}}}}")
        elif how == "providecommand":
            self._tell(rf"\providecommand{{{name}}}{f'[{count}]' if count else ''}{{{self._own(value)}}}")
        else:
            self._defaults.pop(name, None)
            parameters = "".join(f"#{number}" for number in range(1, int(count or 0) + 1))
            self._tell(rf"\gdef{name}{parameters}{{{self._own(value)}}}")
            if default is not None:
                self._defaults[name] = default
        return place

    def _tell(self, definition: str) -> None:
        self._converter.convert_with_global_state(definition, displaystyle=False)

    def _own(self, latex: str) -> str:
        """LaTeX without the project's own environments, and with every optional argument written out."""
        for name, (count, begin, end) in self._environments.items():
            for _ in range(_MAX_USES):
                if (start := latex.find(rf"\begin{{{name}}}")) < 0:
                    break
                place, opened = start + len(rf"\begin{{{name}}}"), begin
                for number in range(1, count + 1):
                    argument, place = _argument(latex, place)
                    opened = opened.replace(f"#{number}", argument)
                latex = latex[:start] + opened + latex[place:].replace(rf"\end{{{name}}}", end, 1)
        for name, default in self._defaults.items():

            def written_out(use: re.Match[str], default: str = default) -> str:
                return f"{use[1]}{{{default if use[2] is None else use[2]}}}"

            latex = re.sub(rf"({re.escape(name)})(?![A-Za-z])\s*(?:\[([^\]]*)\])?", written_out, latex)
            if len(latex) > _MAX_LENGTH:
                raise ValueError("its macros make it too long")
        return latex

    # --- what the converter does not know

    def _plain(self, latex: str) -> str:
        """LaTeX that means the same and that the converter knows. Without a label or tag nothing is numbered."""
        latex = self._own(latex)
        latex = re.sub(r"\\require\s*\{[^{}]*\}", "", latex)
        latex = re.sub(r"\\(?:mbox|textrm|textnormal)(?=\s*\{)", r"\\text", latex)
        latex = re.sub(r"(?s)(\\begin\{eqnarray\*?\})(.*?)(\\end\{eqnarray\*?\})", _in_two_columns, latex)
        latex = re.sub(r"(\\begin\{alignat\*?\})\s*\{\d+\}", r"\1", latex)
        for theirs, ours in _ENVIRONMENTS.items():
            latex = re.sub(rf"(\\(?:begin|end)\{{){theirs}(\*?\}})", rf"\g<1>{ours}\2", latex)
        latex = latex.replace("{aligned*}", "{aligned}")
        latex = self._numbered(re.sub(r"\\label\s*\{([^{}]*)\}", self._labelled, latex))
        latex = _TEXT.sub(_formulas_out_of_text, latex)

        def reference(use: re.Match[str]) -> str:
            return rf"\eqref{{{self.reference(use[2], bare=use[1] == 'ref').removeprefix(self._prefix)}}}"

        return REFERENCE.sub(reference, latex)

    def _labelled(self, found: re.Match[str]) -> str:
        label = _plain_label(found[1])
        if label in self._labels:
            _log.warning("the label %s comes twice, and references lead to the first", found[1])
            return ""
        self._labels.add(label)
        return rf"\label{{{label}}}"

    def _numbered(self, latex: str) -> str:
        numbers = _NUMBER.findall(latex)
        if not numbers:
            return re.sub(rf"(\\(?:begin|end)\{{{_NUMBERED})\}}", r"\1*}", latex)
        if re.search(rf"\\begin\{{{_NUMBERED}\}}", latex):
            return latex
        if starred := re.search(rf"(?s)\\begin\{{({_NUMBERED})\*\}}(.*)\\end\{{\1\*\}}", latex):
            rows = [row if _NUMBER.search(row) else rf"{row}\notag " for row in starred[2].split("\\\\")]
            body = "\\\\".join(rows)
            return rf"\begin{{{starred[1]}}}{body}\end{{{starred[1]}}}"
        return rf"\begin{{equation}}{_NUMBER.sub('', latex)}{''.join(numbers)}\end{{equation}}"


def _depth(latex: str) -> int:
    """How deep braces are in each other; escaped ones are none."""
    depth = deepest = 0
    for brace in re.findall(r"\\.|[{}]", latex, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        deepest = max(deepest, depth)
    return deepest


def _argument(latex: str, place: int) -> tuple[str, int]:
    """The group, command or character that comes next, without its braces, and where it ends.

    :raises IndexError: there is none, or it has no end.
    """
    place = _after(latex, place, r"\s*")
    if latex[place] != "{":
        end = _after(latex, place, r"\\[A-Za-z]+|\\?.")
        return latex[place:end], end
    depth, end = 0, place
    while True:
        if latex[end] == "\\":
            end += 1
        else:
            depth += {"{": 1, "}": -1}.get(latex[end], 0)
        end += 1
        if depth == 0:
            return latex[place + 1 : end - 1].strip(), end


def _option(latex: str, place: int) -> tuple[str | None, int]:
    """What comes next between brackets, None if nothing does, and where it ends."""
    found = re.compile(r"\s*\[([^\]]*)\]").match(latex, place)
    return (found[1], found.end()) if found else (None, place)


def _after(latex: str, place: int, pattern: str) -> int:
    found = re.compile(pattern, re.DOTALL).match(latex, place)
    return found.end() if found else place


def _in_two_columns(found: re.Match[str]) -> str:
    """The rows of eqnarray, whose sign has a column of its own, as those of align."""
    return found[1] + re.sub(r"&([^&\\]*)&", r"&\1 ", found[2]) + found[3]


def _formulas_out_of_text(text: re.Match[str]) -> str:
    inside = re.sub(r"\$([^$]*)\$", r"}\1\\text{", text[1])
    return r"\text{" + REFERENCE.sub(r"}\g<0>\\text{", inside) + "}"


def _plain_label(label: str) -> str:
    """A label of letters, digits and hyphens only, one for each label."""
    return re.sub(r"[^A-Za-z0-9]", lambda character: f"-{ord(character[0]):x}-", label.strip())


# --- references


def link_references(node: NavigableString, formulas: Formulas) -> None:
    r"""Make the \ref{} and \eqref{} that stand in a page's text links, still without their number."""
    parts = re.split(REFERENCE, str(node))
    if len(parts) == 1:
        return
    fresh: list[Tag | str] = [parts[0]]
    for command, label, after in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        link = Tag(name="a", attrs={"href": f"#{formulas.reference(label, bare=command == 'ref')}"})
        link.string = _UNKNOWN
        fresh += [link, after]
    node.replace_with(*fresh)


def resolve_references(page: BeautifulSoup) -> None:
    """Give the references in a finished page the numbers of their formulas, which may come after them."""
    targets = {str(tag["id"]): tag for tag in page.select('mtd[id*="formula-"]')}
    for link in page.select('a[href*="formula-"]'):
        if link.get_text() != _UNKNOWN:
            continue
        target = str(link["href"]).removeprefix("#")
        bare = "formula-ref:" in target
        target = target.replace("formula-ref:", "formula-")
        link["href"] = f"#{target}"
        if target in targets:
            number = targets[target].get_text()
            link.string = number.strip("()") if bare else number
        else:
            _log.warning("a reference leads to no formula: %s", target.partition("formula-")[2])
            link.string = "???"
            del link["href"]
