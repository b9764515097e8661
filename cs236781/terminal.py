r"""Text that draws over itself, as progress bars do, becomes what a terminal would show in the end.

    screen("10%\r20%\r")        -> "20%"

A carriage return moves to the start of the line and erases nothing. The time taken is linear in the text's length.
"""

import re
from unicodedata import combining

# A control sequence, a single control character, or a run of text; and a broken sequence's first character.
_PIECE = re.compile(r"\x1b\[([0-?]*)[ -/]*([@-~])|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|([\r\n\b\x1b])|([^\r\n\b\x1b]+)")
_MOVE = re.compile(r"[\r\b]|\x1b\[[0-?]*[ -/]*[@-ln-~]|\x1b\]")  # of all sequences, only colours end in m

_Colours = tuple[str, ...]  # the sequences that hold for a character
_Cell = tuple[_Colours, str]  # a character has its accents with it
_BLANK: _Cell = ((), " ")
_MAX_COLOURS = 8  # foreground, background and styles; a text that never resets them would gather them without end


def screen(text: str) -> str:
    """The text as a terminal of any width shows it.

    Colours stay. The sequences that erase (K) and that go up and down (A, B) are followed, others are left out.
    """
    text = "\n".join(line.rstrip("\r") for line in text.split("\n"))
    if not _MOVE.search(text):
        return text
    lines: list[list[_Cell]] = [[]]
    row = column = 0
    colours: _Colours = ()
    for piece in _PIECE.finditer(text):
        numbers, command, control, run = piece.groups()
        if run is not None:
            cells = _cells(run, colours)
            line = lines[row]
            line.extend([_BLANK] * (column - len(line)))
            line[column : column + len(cells)] = cells
            column += len(cells)
        elif control == "\n":
            row, column = row + 1, 0
            if row == len(lines):
                lines.append([])
        elif control == "\r":
            column = 0
        elif control == "\b":
            column = max(0, column - 1)
        elif command == "m":
            colours = () if numbers in ("", "0") else (*colours, piece[0])[-_MAX_COLOURS:]
        elif command in ("A", "B"):
            count = int(numbers) if re.fullmatch(r"[1-9]\d{0,5}", numbers) else 1
            row = max(0, row - count) if command == "A" else min(len(lines) - 1, row + count)
        elif command == "K":
            _erase(lines[row], column, numbers)
    return "\n".join(map(_joined, lines))


def _cells(run: str, colours: _Colours) -> list[_Cell]:
    """A run of text as a terminal's cells; an accent shares the cell of its letter."""
    if run.isascii():
        return [(colours, character) for character in run]
    cells: list[_Cell] = []
    for character in run:
        if cells and combining(character):
            cells[-1] = (colours, cells[-1][1] + character)
        else:
            cells.append((colours, character))
    return cells


def _erase(line: list[_Cell], column: int, which: str) -> None:
    """Erase all after the cursor, or all up to it (1), or the whole line (2)."""
    if which == "1":
        end = min(column + 1, len(line))
        line[:end] = [_BLANK] * end
    elif which == "2":
        line.clear()
    else:
        del line[column:]


def _joined(line: list[_Cell]) -> str:
    """A line's text, without the blanks at its end."""
    parts: list[str] = []
    current: _Colours = ()
    for colours, character in line:
        if colours != current:
            parts.extend(["\x1b[0m", *colours] if current else colours)
            current = colours
        parts.append(character)
    text = "".join(parts).rstrip(" ")
    return text + "\x1b[0m" if current else text
