"""The pages that grading writes: whole in one file, without scripts, for a phone as well, in light and dark."""

from jinja2 import Environment

from cs236781.html_style import COLOURS, POLICY

# Every value that is put into a template is escaped, unless the template calls it safe.
TEMPLATES = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)

_RULES = """
:root { --page-ground: #fff; --page-raised: #f3f4f6; }
@media screen and (prefers-color-scheme: dark) { :root { --page-ground: #111; --page-raised: #1d1f23; } }
body { margin: 0; background: var(--page-ground); color: var(--jp-content-font-color1);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; overflow-wrap: anywhere; }
main { max-width: 50rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.25; margin: 1.6em 0 0.5em; }
h1 { font-size: 1.6rem; margin-top: 0.4em; }
h2 { font-size: 1.3rem; padding-bottom: 0.2em; border-bottom: 1px solid var(--page-line); }
h3 { font-size: 1.1rem; }
p { margin: 0.5em 0; }
a { color: var(--jp-content-link-color); }
table { border-collapse: collapse; width: 100%; font-size: 0.95rem; }
th, td { text-align: left; vertical-align: top; padding: 0.3em 0.5em 0.3em 0;
  border-bottom: 1px solid var(--page-line); }
pre, code { font: 0.875rem/1.4 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre { margin: 0; padding: 0.5em 0.7em; background: var(--page-raised); border-radius: 4px; white-space: pre-wrap;
  tab-size: 4; }
:focus-visible { outline: 2px solid var(--jp-content-link-color); outline-offset: 2px; }
@media print { @page { margin: 1.5cm; } main { max-width: none; padding: 0; } h1, h2, h3 { break-after: avoid; } }
"""

_PAGE = TEMPLATES.from_string(
    """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy | safe }}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<main>
{{ body | safe }}
</main>
</body>
</html>
"""
)


def page(title: str, body: str, rules: str) -> bytes:
    """A page.

    :param body: the HTML of its main part.
    :param rules: of CSS, beyond those that all pages have.
    """
    style = COLOURS + _RULES + rules
    return _PAGE.render(title=title, body=body, style=style, policy=POLICY).encode(errors="replace")
