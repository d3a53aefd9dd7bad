"""The night's Data Docs: what Great Expectations found, as pages that open no socket and hold no PHI.

GX builds the page of each suite; it would load scripts, styles and a logo from six hosts as soon as somebody looks at
it. Those are taken out and a small style sheet of our own is put in. The index is ours, because GX's lists only what
its own store holds: one row a case, with its refusal, over all shards of the night.
"""

from __future__ import annotations

import fcntl
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from gtr_batch.domain.refusal import Refusal
from gtr_batch.validate.expectations import SuiteRun

_TITLES = {"headers": "headers", "pixels": "pixels and geometry"}
_REMOTE = re.compile(
    r"<script\b[^>]*\bsrc=[^>]*>\s*</script>|<link\b[^>]*>|<img\b[^>]*>|<footer\b.*?</footer>",
    re.DOTALL | re.IGNORECASE,
)
_SCRIPT = re.compile(r"<script\b.*?</script>", re.DOTALL | re.IGNORECASE)
_REMOTE_CSS = re.compile(r"url\(\s*['\"]?https?:[^)]*\)", re.IGNORECASE)
_REMOTE_HREF = re.compile(r"href=(['\"])https?:.*?\1", re.IGNORECASE)
_TEMPLATES = jinja2.Environment(loader=jinja2.PackageLoader("gtr_batch.validate"), autoescape=True)


def write_docs(folder: Path, shard: str, run: SuiteRun, refusals: Mapping[str, Refusal | None]) -> Path:
    """Write the shard's pages and the night's index.

    The same shard again replaces its pages. Shards of one night may write at the same time.

    Parameters
    ----------
    folder : Path
        The night's ``data_docs`` folder.
    shard : str
        Names the pages.
    run : SuiteRun
        What GX decided, ``BOOLEAN_ONLY``.
    refusals : mapping
        Refusal or None by case id.

    Returns
    -------
    Path
        ``index.html``.
    """
    pages = folder / "shards"
    pages.mkdir(parents=True, exist_ok=True)
    style = _TEMPLATES.get_template("style.css").render()
    for name, html in _built_pages(run).items():
        _write(pages / f"{shard}-{name}.html", _offline(html, style))
    result = {
        "shard": shard,
        "suites": {
            name: {
                "title": _TITLES.get(name, name),
                "evaluated": r.statistics["evaluated_expectations"],
                "failed": r.statistics["unsuccessful_expectations"],
            }
            for name, r in run.results.items()
        },
        "cases": {
            case_id: None
            if r is None
            else {"code": str(r.code), "sentence": r.sentence, "also": r.numbers.get("also", [])}
            for case_id, r in sorted(refusals.items())
        },
    }
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _write(pages / f"{shard}.json", json.dumps(result, indent=1))
        shards = [json.loads(path.read_text()) for path in sorted(pages.glob("shard-*.json"))]
        _write(folder / "index.html", _TEMPLATES.get_template("index.html.jinja").render(shards=shards, style=style))
    return folder / "index.html"


def _built_pages(run: SuiteRun) -> dict[str, str]:
    """GX's own page of each suite, by suite name."""
    with tempfile.TemporaryDirectory() as scratch:
        context: Any = run.context
        context.add_data_docs_site(
            site_name="night",
            site_config={
                "class_name": "SiteBuilder",
                "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
                "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": scratch},
            },
        )
        context.build_data_docs()
        return {
            path.relative_to(scratch).parts[1]: path.read_text()
            for path in sorted(Path(scratch).glob("validations/**/*.html"))
        }


def _offline(html: str, style: str) -> str:
    """The page without anything that would be fetched, run or followed out of the site."""
    html = _SCRIPT.sub("", _REMOTE.sub("", html))
    html = _REMOTE_HREF.sub('href="../index.html"', _REMOTE_CSS.sub("none", html))
    html = re.sub(r'href="(\.\./)+index\.html"', 'href="../index.html"', html)
    html = re.sub(r'<a href="(?!#|\.\./index\.html)[^"]*"', "<a", html)
    return html.replace("</head>", f"<style>{style}</style></head>", 1)


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text)
    temporary.chmod(0o600)
    temporary.replace(path)
