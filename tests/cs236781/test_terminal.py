r"""What a terminal shows in the end of text with \r and control sequences."""

import pytest

from cs236781.terminal import screen

RED, PLAIN = "\x1b[31m", "\x1b[0m"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain\n  text \n", "plain\n  text \n"),
        ("a\r\nb\r\r\n", "a\nb\n"),
        ("kept\r", "kept"),
        ("10%\r20%\r", "20%"),
        ("\r9 of 10\r10 of 10\n", "10 of 10\n"),
        ("long line\rshort", "shortline"),
        ("bar\r   \r", ""),
        ("bar\x1b[K", "bar"),
        ("a bar\r\x1b[Kb", "b"),
        ("a bar\x1b[2K\rb", "b"),
        ("a bar\b\x1b[1Kr", "    r"),
        ("abc\b\bX", "aXc"),
        ("\b\ba", "a"),
        ("first\nsecond\x1b[A\rFIRST\n\x1b[Bthird", "FIRST\nthirdd"),
        ("a\x1b[99Ab", "ab"),
        ("e\u0301a\rx", "xa"),
        (f"{RED}red{PLAIN} text", f"{RED}red{PLAIN} text"),
        (f"{RED}red{PLAIN}\rab", f"ab{RED}d{PLAIN}"),
        (f"x\r{RED}a", f"{RED}a{PLAIN}"),
        ("\x1b[?25lx\ry\x1b[?25h", "y"),
        ("\x1b]8;;https://example.com\x07link\x1b]8;;\x07", "link"),
        ("ends in \x1b[", "ends in \x1b["),
    ],
)
def test_what_is_shown(text, shown):
    assert screen(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "x" * 2_000_000,
        "\r" * 500_000 + "x",
        ("x" * 100 + "\r") * 5_000,
        "\x1b[" * 200_000,
        "\x1b[" + "1" * 500_000 + "\r",
        "\x1b[31m" * 50_000 + "\rx",
        "\x1b]" * 100_000,
    ],
    ids=["line", "returns", "redrawn", "starts", "digits", "colours", "links"],
)
@pytest.mark.timeout(60)  # seconds; in quadratic time each takes hours
def test_long_text_comes_to_an_end(text):
    assert len(screen(text)) <= len(text)
