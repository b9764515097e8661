"""What makes the exported page easy to read and to walk through: contents, links, names of figures, films on paper.

A figure's name, for readers who cannot see it, comes from its cell: from a comment `# alt: ...`, one for each figure
in their order; or from the titles that the cell gives it; or it says where the figure stands and what drew it.
"""

import ast
import base64
import binascii
import logging
import re
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import imageio_ffmpeg
from bs4 import BeautifulSoup, NavigableString, Tag
from nbformat import NotebookNode

_log = logging.getLogger(__name__)

_HEADINGS = ["h1", "h2", "h3", "h4", "h5", "h6"]
_DEPTH = 3  # of the contents
_ALT = re.compile(r"^\s*#\s*alt:\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)
_TITLES = {"suptitle", "title", "set_title"}
_NO_ALT = "No description has been provided for this image"  # nbconvert's
_WIDE = 24  # characters of a formula that a phone may not have room for
_POSTER_LIMIT = 60  # seconds


def finish(page: BeautifulSoup, cells: dict[str, NotebookNode], title: str) -> None:
    """Change nbconvert's page in place.

    :param cells: the notebook's, by the ids that they have in the page.
    :param title: of the page if it has no heading.
    """
    for tag in page.select("[tabindex]"):
        del tag["tabindex"]
    _name_figures_and_films(page, cells)
    _make_wide_things_scroll(page)
    headings = page.select(".jp-MarkdownCell :is(h1, h2, h3, h4, h5, h6)")
    assert page.title is not None  # the template has one
    page.title.string = next((text for heading in headings if (text := _text(heading))), title)
    entries = [heading for heading in headings if _text(heading) and int(heading.name[1]) <= _DEPTH]
    _give_ids(page)
    if page.body is not None and entries:
        page.body.insert(0, _contents(page, entries))
    _link_headings(page)


# --- headings


def _text(tag: Tag) -> str:
    return " ".join(tag.get_text().split())


def _give_ids(page: BeautifulSoup) -> None:
    """Give every heading the id that Jupyter gives it, so that a notebook's own links work."""
    taken = {str(tag["id"]) for tag in page.find_all(id=True)}
    for heading in page.main.find_all(_HEADINGS) if page.main else []:
        if "id" in heading.attrs:
            continue
        wanted = _text(heading).replace(" ", "-") or "section"
        numbered = (f"{wanted}-{number}" for number in count(2))
        name = wanted if wanted not in taken else next(name for name in numbered if name not in taken)
        heading["id"] = name
        taken.add(name)


def _link_headings(page: BeautifulSoup) -> None:
    """Put a link to itself behind every heading. The contents lead there too, so the tab key passes it over."""
    for heading in page.main.find_all(_HEADINGS) if page.main else []:
        link = page.new_tag(
            "a", attrs={"class": "heading-link", "href": f"#{heading['id']}", "aria-hidden": "true", "tabindex": "-1"}
        )
        link.string = "#"
        heading.append(link)


def _contents(page: BeautifulSoup, headings: list[Tag]) -> Tag:
    """A list of links to the headings, of two levels: the highest that the page has, and all below it."""
    levels = [int(heading.name[1]) for heading in headings]
    top = min(levels)
    if levels.count(top) == 1 and len(headings) > 1:  # the page's title
        top += 1
    nav = page.new_tag("nav", attrs={"class": "contents", "aria-label": "Contents"})
    details = page.new_tag("details", attrs={"open": ""})
    summary = page.new_tag("summary")
    summary.string = "Contents"
    outer = page.new_tag("ol")
    inner: Tag | None = None
    for heading, level in zip(headings, levels, strict=True):
        item = page.new_tag("li")
        link = page.new_tag("a", attrs={"href": f"#{heading['id']}"})
        for part in BeautifulSoup(heading.decode_contents(), "html.parser").contents[:]:
            link.append(part)
        for tag in link.find_all(True):
            tag.attrs.pop("id", None)
        for anchor in link.find_all("a"):
            anchor.unwrap()
        item.append(link)
        if level <= top or not outer.contents:
            outer.append(item)
            inner = None
        else:
            if inner is None:
                inner = page.new_tag("ol")
                last = outer.contents[-1]
                assert isinstance(last, Tag)
                last.append(inner)
            inner.append(item)
    details.extend([summary, outer])
    nav.append(details)
    return nav


# --- figures and films


def _name_figures_and_films(page: BeautifulSoup, cells: dict[str, NotebookNode]) -> None:
    section = ""
    numbers = {"Figure": count(1), "Film": count(1)}
    for tag in page.select(".jp-MarkdownCell :is(h1, h2, h3, h4), .jp-CodeCell"):
        if tag.name in _HEADINGS:
            section = _text(tag)
            continue
        cell = cells.get(str(tag.get("id")))
        if cell is None:  # an output may hold a notebook's page
            continue
        shown = [
            item
            for item in tag.select(".jp-OutputArea :is(img, svg, video)")
            if item.get("alt" if item.name == "img" else "aria-label") in (None, "", _NO_ALT)
        ]
        names = _names(cell.source, len(shown))
        drawing = _drawing(cell.source)
        for item in shown:
            kind = "Film" if item.name == "video" else "Figure"
            number = next(numbers[kind])
            where = f", in the section {section}" if section else ""
            drawn_by = next(drawing, "") if kind == "Figure" else ""
            name = next(names, None) or f"{kind} {number}{where}{drawn_by}"
            if item.name == "img":
                item["alt"] = name
            else:
                item["aria-label"] = name
            if item.name == "svg":
                item["role"] = "img"
            if item.name == "video":
                _prepare_film(page, item, name)
        _leave_out_names(tag)


def _leave_out_names(cell: Tag) -> None:
    """Take the comments with names out of the code that is shown: they tell what there is to be seen below."""
    for comment in cell.select(".jp-InputArea .c1"):
        before, after = comment.previous_sibling, comment.next_sibling
        line = before if isinstance(before, NavigableString) and before else "\n"  # none, or what was left of others
        indented = line.rstrip(" ")
        if _ALT.fullmatch(comment.text) and indented.endswith("\n") and isinstance(after, NavigableString):
            if before and isinstance(before, NavigableString):
                before.replace_with(indented)
            after.replace_with(after.removeprefix("\n"))
            comment.extract()
            cell.smooth()


def _names(source: str, figures: int) -> Iterator[str]:
    """The names that a cell gives to its figures, in their order. A cell's only figure gets all of its titles."""
    if alts := _ALT.findall(source):
        return iter(alts)
    titles = [title for call in _calls(source) if (title := _title(call))]
    if figures == 1 and titles:
        return iter(["; ".join(dict.fromkeys(titles))])
    return iter(titles if len(titles) == figures else [])


def _title(call: ast.Call) -> str:
    """The title that a call gives to a figure. What it formats into it is left out."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in _TITLES and call.args):
        return ""
    text = call.args[0]
    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
    constants = [part.value if isinstance(part, ast.Constant) else "…" for part in parts]
    return " ".join("".join(map(str, constants)).replace("$", "").split()).strip("… ")


def _drawing(source: str) -> Iterator[str]:
    """What drew the figures of a cell, in their order, as far as its calls tell."""
    names = dict.fromkeys(ast.unparse(call.func) for call in _calls(source))
    return iter([f", drawn by {name}" for name in names if re.search(r"plot_|draw|hist|scatter|imshow|plot$", name)])


def _calls(source: str) -> list[ast.Call]:
    """The calls of a cell, in the order of its lines; none if it is more than Python."""
    lines = ["" if re.match(r"\s*[%!?]", line) else line for line in source.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return sorted(calls, key=lambda call: (call.lineno, call.col_offset))


def _prepare_film(page: BeautifulSoup, video: Tag, name: str) -> None:
    """Give a film a still picture, which is shown before it plays, and is what paper shows."""
    for attribute in ("autoplay", "loop"):
        video.attrs.pop(attribute, None)
    video["controls"] = ""
    source = video if video.get("src") else video.find("source")
    if not video.get("poster") and isinstance(source, Tag) and (still := _still(str(source.get("src", "")))):
        video["poster"] = still
    if video.get("poster"):
        on_paper = page.new_tag("img", attrs={"class": "film-on-paper", "src": str(video["poster"]), "alt": name})
        video.insert_after(on_paper)


def _still(address: str) -> str:
    """The most typical of a film's first hundred frames, as a picture's address; empty if it cannot be read."""
    data = re.fullmatch(r"data:video/[\w.+-]+;base64,(.*)", address, re.DOTALL)
    if data is None:
        return ""
    with tempfile.TemporaryDirectory(prefix="hw4-") as folder:
        film = Path(folder) / "film"
        try:
            film.write_bytes(base64.b64decode(data[1]))
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(film), "-vf", "thumbnail=100"]
            command += ["-frames:v", "1", "-q:v", "4", "-f", "mjpeg", "-"]
            still = subprocess.run(command, capture_output=True, timeout=_POSTER_LIMIT, check=True).stdout
        except (OSError, RuntimeError, subprocess.SubprocessError, binascii.Error):
            _log.warning("a film has no still picture, since it cannot be read: it is black on paper")
            return ""
    return f"data:image/jpeg;base64,{base64.b64encode(still).decode()}" if still else ""


# --- what may be wider than a screen


def _make_wide_things_scroll(page: BeautifulSoup) -> None:
    """Put tables, figures of outputs and long formulas into boxes that scroll.

    On a narrow screen a box holds a link to itself, by which the keyboard reaches it. Wider ones need none.
    """
    for kind, selector in [
        ("Table", "main table"),
        ("Figure", ".jp-OutputArea :is(img:not(.film-on-paper), svg)"),
        ("Formula", ".formula"),
    ]:
        for number, tag in enumerate(page.select(selector), start=1):
            if tag.find_parent(["table", "math", "svg"]):
                continue
            box = tag.wrap(page.new_tag("span" if kind == "Formula" else "div", attrs={"class": "scroll"}))
            if kind == "Figure":
                _state_size(tag)
            if kind != "Formula" or len(tag.get_text()) > _WIDE:
                box["id"] = f"{kind.lower()}-{number}"
                name = f"{kind} {number}"
                attributes = {"class": "scroll-stop", "href": f"#{box['id']}", "aria-label": name}
                box.insert(0, page.new_tag("a", attrs=attributes))
    for header in page.select("main th"):
        if not _text(header) and not header.find(True):
            header.name = "td"  # an empty heading heads nothing


def _state_size(picture: Tag) -> None:
    """Say how wide a picture is, so that a phone does not shrink it to nothing."""
    width = re.fullmatch(r"(\d+(?:\.\d+)?)(?:px)?", str(picture.get("width", "")))
    pixels = float(width[1]) if width else _png_width(str(picture.get("src", "")))
    if pixels:
        picture["style"] = f"{picture.get('style', '')}; --width: {pixels:g}px".lstrip("; ")


def _png_width(address: str) -> float:
    """The width that a PNG file in an address states, in pixels; 0 if it is no PNG file."""
    start = "data:image/png;base64,"
    if not address.startswith(start):
        return 0
    try:
        head = base64.b64decode("".join(address[len(start) : len(start) + 64].split())[:32])
        return float(struct.unpack(">I", head[16:20])[0])
    except (binascii.Error, struct.error):
        return 0
