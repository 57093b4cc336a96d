"""HTML pages that hold all they show."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from fieldcast.meshes.files import replace_file

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}
td,th{padding:.25em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,.words td,.words th{text-align:left}
td{white-space:nowrap}td:last-child{white-space:normal}
img{max-width:100%}
.warn{background:#fff3cd;padding:.5em 1em}
.reject{color:#b00}.flag{color:#a60}.best{font-weight:600}small{color:#666}
"""


def write_page(path: Path, parts: Sequence[str]) -> Path:
    """One HTML page of `parts`; returns its path."""
    body = "\n".join(parts)
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>fieldcast report</title>"
        f"<style>{STYLE}</style><body>{body}</body></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, page.encode())
    return path


def image(data: bytes, caption: str, kind: str = "png") -> str:
    """A picture inside the page."""
    text = base64.b64encode(data).decode()
    return f"<p><img alt='{html.escape(caption)}' src='data:image/{kind};base64,{text}'></p>"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are HTML."""
    top = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    lines = ("<tr>" + "".join(f"<td>{c}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{''.join(lines)}</table>"
