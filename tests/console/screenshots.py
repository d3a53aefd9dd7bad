"""Takes the pictures of `docs/images`: ``python -m tests.console.screenshots [FOLDER]`` (`make screenshots`).

A phantom hospital is written into a PostgreSQL of its own, the console is served on the loopback interface, and
chromium opens each page. Nobody in the pictures exists.
"""

from __future__ import annotations

import io
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs import frozen
from scipy.ndimage import gaussian_filter

from gtr_batch.db import migrate
from gtr_batch.domain.staging import TStage
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.scanner import SCANNERS
from gtr_batch.simulation.phantom.stomach import Third

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tests.console_hospital import Hospital

CHROMIUM = "/usr/bin/chromium"
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
NEIGHBOURS = 6  # slices on either side of the key slice

#: File -> user, path; under `/first` the site asks for the own stage first.
PAGES = {
    "console-worklist": ("rahel", "/gtr/worklist"),
    "console-case": ("rahel", "/gtr/cases/{flagged}"),
    "console-own-stage": ("nemo", "/first/cases/{flagged}"),
    "console-nights": ("olga", "/gtr/nights"),
    "console-night": ("olga", "/gtr/nights/2026-03-01"),
    "console-audits": ("anton", "/gtr/audits"),
    "console-models": ("ada", "/gtr/models"),
}


@frozen
class GastricCt:
    """Slices about a tumour, ``(slices, size, size)`` in HU; the key slice; heat over it and its neighbours."""

    hu: np.ndarray
    heat: np.ndarray
    key: int

    @classmethod
    def of_a_phantom(cls, size: int = 512) -> GastricCt:
        """The synthetic stomach of the demo, with a T3 tumour; the heat lies where the tumour is."""
        phantom = Phantom(7, 3, TStage.T3, Third.LOWER, 4.5, SCANNERS[0], matrix=size)
        positions, key = phantom.positions_mm(), phantom.key_slice()
        first = max(0, key - NEIGHBOURS)
        shown = positions[first : key + NEIGHBOURS + 1]
        # Less noise than the scanner's: a picture for a page, and a small file.
        hu = np.stack([0.3 * phantom.slice_hu(z) + 0.7 * phantom.noiseless(z) for z in shown])
        masks = [phantom.truth(z).tumour.astype(np.float32) for z in positions[key - 1 : key + 2]]
        heat = np.stack([gaussian_filter(mask, size / 40) for mask in masks])
        return cls(np.round(hu).astype(np.int16), (heat / heat.max()).astype(np.float32), key - first)


@contextmanager
def served(application: object) -> Iterator[str]:
    """An application on a free port of the loopback interface; yields its address."""
    import threading

    import uvicorn

    server = uvicorn.Server(uvicorn.Config(application, host="127.0.0.1", port=0, log_level="warning"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.02)
        assert thread.is_alive(), "the server did not start"
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def take(folder: Path) -> list[Path]:
    """Write the hospital, serve its console, and take a picture of each page."""
    from playwright.sync_api import sync_playwright

    from gtr_batch.simulation.servers.services import embedded_postgres
    from tests.console_hospital import fill

    taken = []
    with tempfile.TemporaryDirectory(prefix="gtr-console-") as scratch, embedded_postgres(Path(scratch) / "pg") as uri:
        migrate(uri)
        ct = GastricCt.of_a_phantom()
        hospital = fill(
            uri,
            Path(scratch) / "store",
            volume=lambda: ct.hu,
            heat=lambda _: ct.heat,
            key=ct.key,
            history=20,
            pacs_viewer="https://viewer.hospital.example/{study_uid}",
        )
        application, token = _application(hospital, Path(scratch))
        with served(application) as url, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for name, (user, path) in PAGES.items():
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                context.add_cookies([{"name": "_token", "value": token(user), "url": url}])
                page = context.new_page()
                page.goto(f"{url}{path.format(**hospital.cases)}", wait_until="networkidle")
                taken.append(folder / f"{name}.png")
                _save(page.screenshot(), taken[-1])
                context.close()
            browser.close()
    return taken


def _application(hospital: Hospital, scratch: Path) -> tuple[FastAPI, Callable[[str], str]]:
    """The console as Airflow mounts it, and a function that gives a user's token."""
    users = {"rahel": "user", "olga": "op", "anton": "viewer", "ada": "admin", "nemo": "viewer"}
    os.environ |= {
        "AIRFLOW_HOME": str(scratch / "airflow"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in users.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(scratch / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
    }
    from airflow import settings
    from airflow.api_fastapi.app import get_auth_manager, init_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.models import import_all_models
    from airflow.models.base import Base
    from fastapi import FastAPI

    from gtr_console.app import create_app

    import_all_models()
    Base.metadata.create_all(settings.engine)
    init_auth_manager()
    root = FastAPI(openapi_url=None)
    console = hospital.config.console
    first = attrs.evolve(console, roles=[*console.roles, "radiologist=user:nemo"], own_stage_first=True)
    asking = attrs.evolve(hospital, config=attrs.evolve(hospital.config, console=first))
    root.mount("/gtr", create_app(hospital.open_site))
    root.mount("/first", create_app(asking.open_site))
    return root, lambda user: get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role=users[user]))


def _save(png: bytes, path: Path) -> None:
    """The picture with 256 colours: a third of the size, and none of it is for diagnosis."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


if __name__ == "__main__":
    for picture in take(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES):
        sys.stdout.write(f"{picture} ({picture.stat().st_size // 1000} kB)\n")
