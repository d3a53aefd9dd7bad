"""A small series, a small server, and adapters for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from pydicom import Dataset

from gtr_batch.config import DicomwebConfig, PacsConfig
from gtr_batch.dicomweb import Dicomweb
from tests.adapters.pacs.peers import datasets
from tests.dicomweb_servers import SmallDicomweb
from tests.phantoms import abdomen_hu, write_series


@pytest.fixture(scope="session")
def web_series_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of 8 slices of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("web-series")
    write_series(folder, abdomen_hu(8, 16), name="web")
    return folder


@pytest.fixture
def series(web_series_folder: Path) -> list[Dataset]:
    """The series, read."""
    return datasets(web_series_folder)


@pytest.fixture
def uids(series: list[Dataset]) -> list[str]:
    """Its SOP Instance UIDs."""
    return [str(ds.SOPInstanceUID) for ds in series]


@pytest.fixture
def server(series: list[Dataset]) -> Iterator[SmallDicomweb]:
    """A server that has the series."""
    with SmallDicomweb(series).running() as there:
        yield there


@pytest.fixture
def archive_at() -> Callable[..., Dicomweb]:
    """A function that makes an adapter for a server's address and settings."""

    def make(url: str, limits: dict[str, Any] | None = None, may_send=None, **settings: Any) -> Dicomweb:
        config = DicomwebConfig(url=url, retrieve=True, deliver=True, connect_timeout_s=20, timeout_s=60)
        return Dicomweb(attrs.evolve(config, **settings), PacsConfig(**(limits or {})), may_send)

    return make
