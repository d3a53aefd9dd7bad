"""What the PACS now holds, fetched back and made into pages to look at: overlay, SR and numbers of each case."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from gtr_batch.domain.printable import printable_value
from gtr_batch.writing import make_folder, write_text

if TYPE_CHECKING:
    from gtr_batch.domain.night_case import NightCase
    from gtr_batch.simulation.demos.demo import Demo

_PAGE = Path(__file__).with_name("night.html.jinja")


def show_results(demo: Demo, cases: Sequence[NightCase]) -> list[str]:
    """Fetch the delivered objects back and write the night's page; returns lines that say where all lies."""
    from gtr_batch.domain.delivery import ObjectKind
    from gtr_batch.domain.staging import FLAG_MEANINGS
    from gtr_batch.wiring import open_site

    folder = make_folder(demo.folder / "results")
    shown_cases = []
    with open_site() as site:
        for case in cases:
            objects = site.cases.objects(case.case_id)
            flags = [FLAG_MEANINGS[flag].words for flag in case.flags]
            shown: dict[str, Any] = {
                **case.to_json(),
                "flags": flags,
                "objects": objects,
                "overlay": None,
                "report": None,
            }
            for item in objects:
                at = make_folder(folder / case.case_id[:8])
                site.archive.retrieve(case.study_uid, item.series_uid, [item.sop_instance_uid], at)
                path = at / f"{item.sop_instance_uid}.dcm"
                if item.kind is ObjectKind.SECONDARY_CAPTURE:
                    shown["overlay"] = _relative(_picture(path), folder)
                elif item.kind is ObjectKind.STRUCTURED_REPORT:
                    page = _readable(path)
                    shown["report"] = _relative(page, folder) if page else None
            shown_cases.append(shown)
        data_docs = site.files.night_folder(demo.night, "data_docs") / "index.html"
        store = site.config.files.root
    page = folder / "night.html"
    template = jinja2.Environment(autoescape=True, finalize=printable_value).from_string(_PAGE.read_text())
    write_text(page, template.render(night=demo.night, cases=shown_cases))
    done = sum(bool(c["objects"]) for c in shown_cases)
    return [
        f"results:    {page}  (overlays and reports of {done} cases, fetched back from the PACS)",
        f"validation: {data_docs}  (Great Expectations Data Docs)",
        f"files:      {store}/{demo.night}/<case>/<step>",
        "worklist:   select * from worklist_annotation (Postgres, role gtr_reader)",
    ]


def _relative(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder))


def _picture(path: Path) -> Path:
    """The secondary capture as PNG."""
    import pydicom
    from PIL import Image

    png = path.with_suffix(".png")
    Image.fromarray(pydicom.dcmread(path).pixel_array).save(png)
    return png


def _readable(path: Path) -> Path | None:
    """The SR as a page, where DCMTK is installed."""
    if not shutil.which("dsr2html"):
        return None
    page = path.with_suffix(".html")
    subprocess.run(["dsr2html", str(path), str(page)], check=True, capture_output=True)
    return page
