"""The report as one page that needs nothing from outside: no script, no font, no picture of another file."""

from __future__ import annotations

import itertools
from typing import Any

import jinja2

from gtr_batch.audit.report.blocks import Page, Picture
from gtr_batch.audit.report.drawing import as_svg
from gtr_batch.domain.printable import printable_value


def as_html(page: Page) -> str:
    """The page; the same for the same blocks."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gtr_batch.audit.report"),
        autoescape=True,
        finalize=printable_value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(page=page, blocks=_drawn(page))


def _drawn(page: Page) -> list[tuple[str, Any, Any]]:
    """Blocks with the name of their kind; pictures with their number and SVG."""
    number = itertools.count(1)
    return [
        (type(b).__name__.lower(), b, (next(number), as_svg(b.figure)) if isinstance(b, Picture) else None)
        for b in page.blocks
    ]
