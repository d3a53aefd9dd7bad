"""Takes the pictures of `docs/images`: ``python -m tests.console.screenshots [FOLDER]`` (`make screenshots`).

A phantom hospital is written into a PostgreSQL of its own, the console is served on the loopback interface, and
chromium opens each page. Nobody in the pictures exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from attrs import frozen
from scipy.ndimage import gaussian_filter

from gtr_batch.domain.staging import TStage
from gtr_batch.simulation.phantom.phantom import Phantom
from gtr_batch.simulation.phantom.scanner import SCANNERS
from gtr_batch.simulation.phantom.stomach import Third

CHROMIUM = "/usr/bin/chromium"
IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
NEIGHBOURS = 6  # slices on either side of the key slice

#: File -> user, path.
PAGES = {
    "console-worklist": ("rahel", "/worklist"),
    "console-case": ("rahel", "/cases/{flagged}"),
    "console-nights": ("olga", "/nights"),
    "console-audits": ("anton", "/audits"),
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
        hu = np.stack([phantom.slice_hu(z) for z in shown])
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
