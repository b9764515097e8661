"""How findings are shown: numbers, and texts from code and archives, which may be hostile.

    visible(text, 1500)      not too long, and with nothing in it that hides or moves text
    one_line(text, 300)      the same on one line
    markdown(line)           Markdown that shows a line as it is
    fenced(text)             the same for a text of many lines

Files, texts for a terminal and pages are made with these. HTML is escaped by the templates of `page`.
"""

import re
import unicodedata
from collections.abc import Mapping

MAX_LINES = 40
_HUGE = 1e9
_ABSURD = 1e100  # of a reward, as infinity is

# What prints nothing, or changes the direction or the place of the text around it.
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# `_` within a word is one. At a line's start, some signs make a list, a heading or a rule.
_SIGNS = re.compile(r"[\\`*\[\]#|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_START = re.compile(r"^(?:[-+](?=\s|$)|[-=](?=[-=]*$)|(\d+)([.)])(?=\s|$))")


def number(value: float) -> str:
    """A number with two decimals at most: 3, 2.5, 33.33. A huge one is short too."""
    if abs(value) >= _HUGE:
        return f"{value:.3g}"
    return f"{value:.2f}".rstrip("0").rstrip(".")


def reward(result: Mapping[str, float]) -> float | None:
    """The best mean reward of a configuration; None if the file gave none."""
    value = result.get("best_mean_reward")
    return float(value) if isinstance(value, (int, float)) and abs(value) < _ABSURD else None


def passes_bar(result: Mapping[str, float]) -> bool | None:
    """Whether a configuration's best mean reward is above its bar; None if it has no bar."""
    best = reward(result)
    return None if "bar" not in result else best is not None and best > result["bar"]


def visible(text: str, limit: int) -> str:
    r"""A text with its middle left out if it is long, and with characters that are not seen as escapes: \x1b.

    :param limit: how many of its characters stay.
    """
    text = text.replace("\r\n", "\n") if len(text) <= limit else _cut(text, limit)
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        lines = [*lines[: MAX_LINES - 10], f"… ({len(lines) - MAX_LINES} lines left out) …", *lines[-10:]]
    return "".join(
        _escaped(character) if unicodedata.category(character) in _UNSEEN and character not in "\n\t" else character
        for character in "\n".join(lines)
    )


def one_line(text: str, limit: int) -> str:
    """A text as `visible` shows it, on one line."""
    return " ".join(visible(" ".join(text.split()), limit).split())


def markdown(line: str) -> str:
    """Markdown, also of GitHub's kind, and within a table, that shows one line as it is."""
    text = _SIGNS.sub(r"\\\g<0>", line.replace("&", "&amp;")).replace("<", "&lt;").replace(">", "&gt;").strip()
    return _START.sub(lambda sign: f"\\{sign[0]}" if sign[1] is None else f"{sign[1]}\\{sign[2]}", text)


def fenced(text: str) -> str:
    """A Markdown block that shows a text as it is."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"


def _cut(text: str, limit: int) -> str:
    head, tail = text[: limit - limit // 4], text[-(limit // 4) :]
    return f"{head} … ({len(text) - limit} characters left out) … {tail}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
