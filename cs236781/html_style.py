"""How the exported page looks: nbconvert's own page with what it loads from elsewhere left out, and the rules below.

It fits a phone and paper, follows the reader's choice of light or dark, and has a contrast of 4.5 for text and 3 for
lines. The policy makes the browser load nothing, whatever the notebook's outputs contain, and run no scripts.
"""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:; font-src data:"

COLOURS = """
:root {
  color-scheme: light;
  --page-line: #767676;
  --jp-border-color1: var(--page-line); --jp-border-color2: var(--page-line);
  --jp-cell-editor-border-color: var(--page-line);
  --jp-content-font-color1: #1f1f1f; --jp-content-font-color2: #4a4a4a; --jp-content-font-color3: #5c5c5c;
  --jp-cell-prompt-not-active-opacity: 1; --jp-cell-prompt-not-active-font-color: #4a4a4a;
  --jp-cell-inprompt-font-color: #1b5e97; --jp-cell-outprompt-font-color: #96401f; --jp-content-link-color: #0b57d0;
  --jp-mirror-editor-keyword-color: #006b00; --jp-mirror-editor-builtin-color: #006b00;
  --jp-mirror-editor-number-color: #006b00; --jp-mirror-editor-operator-color: #7b1fa2;
  --jp-mirror-editor-meta-color: #7b1fa2; --jp-mirror-editor-comment-color: #2f6464;
  --jp-mirror-editor-string-color: #ab1c1c; --jp-mirror-editor-atom-color: #3a3ab0;
  --jp-mirror-editor-bracket-color: #5a5a36; --jp-mirror-editor-error-color: #b00020;
  --page-black: #3e424d; --page-red: #a81b14; --page-green: #00602b; --page-yellow: #6b4e00; --page-blue: #0b4fb5;
  --page-magenta: #8e1f80; --page-cyan: #005b60; --page-white: #55585c;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    color-scheme: dark;
    --page-line: #8a8a8a;
    --jp-content-font-color1: #ececec; --jp-content-font-color2: #c4c4c4; --jp-content-font-color3: #b0b0b0;
    --jp-cell-prompt-not-active-font-color: #c4c4c4;
    --jp-cell-inprompt-font-color: #7fbdf2; --jp-cell-outprompt-font-color: #f0a488; --jp-content-link-color: #8ab8ff;
    --jp-rendermime-error-background: #4a1512;
    --jp-mirror-editor-keyword-color: #7fd88a; --jp-mirror-editor-builtin-color: #7fd88a;
    --jp-mirror-editor-number-color: #7fd88a; --jp-mirror-editor-operator-color: #d7a6f5;
    --jp-mirror-editor-meta-color: #d7a6f5; --jp-mirror-editor-comment-color: #8fc1c1;
    --jp-mirror-editor-string-color: #ff9c94; --jp-mirror-editor-atom-color: #a9b7ff;
    --jp-mirror-editor-variable-2-color: #9cc7ff; --jp-mirror-editor-punctuation-color: #9cc7ff;
    --jp-mirror-editor-property-color: #9cc7ff; --jp-mirror-editor-def-color: #9cc7ff;
    --jp-mirror-editor-bracket-color: #cfcfa5; --jp-mirror-editor-error-color: #ff9c94;
    --page-black: #b4b7bf; --page-red: #ff9c94; --page-green: #7fd88a; --page-yellow: #e5c469; --page-blue: #9cc7ff;
    --page-magenta: #f0a6e4; --page-cyan: #80dbe0; --page-white: #e4e4e4;
  }
}
"""

_ANSI = "".join(
    f".ansi-{name}-fg, .ansi-{name}-intense-fg {{ color: var(--page-{name}) !important; }}\n"
    f".ansi-{name}-bg, .ansi-{name}-intense-bg "
    f"{{ background: var(--page-{name}) !important; color: var(--jp-layout-color0) !important; }}\n"
    for name in ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
)

_LAYOUT = """
@property --more-left { syntax: "<length>"; inherits: false; initial-value: 0px; }
@property --more-right { syntax: "<length>"; inherits: false; initial-value: 0px; }
@keyframes more { from { --more-right: 3rem; } to { --more-left: 3rem; } }
html { scroll-padding-top: 1rem; }
body.jp-Notebook { margin: 0; background: var(--jp-layout-color0); color: var(--jp-content-font-color1); }
main, .contents { box-sizing: border-box; max-width: 62rem; margin: 0 auto; padding: 1rem; }
main img, main video, main svg { max-width: 100%; height: auto; }
main img { background: #fff; } /* figures with a transparent ground are drawn for paper */
.jp-RenderedHTMLCommon { overflow-wrap: break-word; }
.jp-RenderedHTMLCommon details { margin-bottom: 1em; }
.jp-OutputArea .highlight pre { margin: 0 0 1em; }
.jp-OutputArea .highlight pre { font-family: var(--jp-code-font-family); font-size: var(--jp-code-font-size); }
.jp-Cell pre { white-space: pre-wrap !important; overflow-wrap: anywhere; word-break: normal !important; }
:is(.jp-RenderedHTMLCommon a:link, .contents a:hover) { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--jp-content-link-color); outline-offset: 2px; }

.contents { font: var(--jp-content-font-size1) / 1.5 var(--jp-content-font-family); }
.contents ol { list-style: none; margin: 0; padding-left: 1em; }
.contents summary { font-weight: 600; padding: 0.3rem 0; }
.contents a { color: var(--jp-content-link-color); text-decoration: none; display: block; padding: 0.15rem 0; }
.contents ol ol { display: none; }
.heading-link { margin-left: 0.4em; opacity: 0; text-decoration: none !important; }
:is(h1, h2, h3, h4, h5, h6):hover > .heading-link, .heading-link:focus { opacity: 1; }

.scroll { display: block; position: relative; overflow-x: auto; overflow-y: hidden; padding: 0.15rem 0; }
@media screen { /* what scrolls fades towards where there is more of it; what fits has no timeline, and so no fade */
  .scroll {
    mask: linear-gradient(90deg, transparent, #000 var(--more-left) calc(100% - var(--more-right)), transparent);
    animation: more linear; animation-timeline: scroll(self inline);
  }
}
.scroll > table { margin: 0.5rem 0 !important; }
.scroll-stop { display: none; }
math { font-family: "Latin Modern Math", "STIX Two Math", "Cambria Math", "DejaVu Math TeX Gyre", math; }
@media screen { main img.film-on-paper { display: none; } }

@media screen and (min-width: 80rem) { /* the contents beside the text */
  body.jp-Notebook { display: grid; grid-template-columns: 17rem minmax(0, 1fr); }
  .contents { position: sticky; top: 0; height: 100vh; overflow-y: auto; margin: 0; }
  .contents ol ol { display: block; }
  main { width: 100%; margin: 0; }
}
@media screen and (max-width: 40rem) {
  main { padding: 0.25rem; }
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
  /* what is drawn for a wide screen stays large enough to be read, and scrolls */
  .scroll > :is(img, svg)[style] { max-width: none; width: max(min(100%, var(--width)), calc(0.7 * var(--width))); }
  .scroll-stop { display: block; position: absolute; left: 0; width: 1px; height: 1px; }
}
@media print { /* paper does not scroll: smaller type; nothing is cut by the end of a page */
  @page { margin: 1cm; }
  :root { --jp-content-font-size1: 12px; --jp-code-font-size: 11px; }
  main { max-width: none; padding: 0; }
  .scroll > table { display: table; table-layout: auto; font-size: 10px; }
  .jp-RenderedHTMLCommon :is(th, td) { white-space: normal !important; padding: 0.2em 0.4em; }
  .jp-Cell pre, .jp-Cell div, .jp-Cell table, .scroll { overflow: visible !important; }
  .jp-Cell-inputWrapper:has(pre), .jp-Cell-outputWrapper { display: block; }
  .jp-InputArea-editor, .jp-RenderedImage, .jp-RenderedSVG, .scroll, tr, img { break-inside: avoid; }
  main img { max-height: 24cm; object-fit: contain; }
  h1, h2, h3, h4, h5, h6 { break-after: avoid; }
  p, li { orphans: 3; widows: 3; }
  .heading-link, main video { display: none !important; }
  main img.film-on-paper { max-width: 12cm; }
}
"""

TEMPLATE = (
    """
{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}
"""
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    """
<link rel="icon" href="data:,">
{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>@media screen and (prefers-color-scheme: dark) {
{{ resources.include_css("static/theme-dark.css") | string | striptags }}
}</style>
<style>"""
    + COLOURS
    + _ANSI
    + _LAYOUT
    + """</style>
{%- endblock -%}
"""
)
