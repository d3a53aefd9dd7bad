"""Small series and adapters for the PACS tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from pydicom import Dataset

from gtr_batch.config import PacsConfig
from gtr_batch.pacs import Pacs
from tests.adapters.pacs.peers import HostilePacs, datasets
from tests.phantoms import abdomen_hu, write_series


@pytest.fixture(scope="session")
def series_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of 12 slices of 64 x 64 pixels."""
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, abdomen_hu(12, 64), name="pacs")
    return folder


@pytest.fixture
def series(series_folder: Path) -> list[Dataset]:
    """The same series, read."""
    return datasets(series_folder)


@pytest.fixture
def uids(series: list[Dataset]) -> list[str]:
    """Its SOP Instance UIDs."""
    return [str(ds.SOPInstanceUID) for ds in series]


@pytest.fixture
def config() -> PacsConfig:
    """Settings with short times."""
    return PacsConfig(connect_timeout_s=3, acse_timeout_s=3, dimse_timeout_s=5, network_timeout_s=5)


@pytest.fixture
def pacs_at(config: PacsConfig) -> Callable[..., Pacs]:
    """A function that makes an adapter for a port and settings."""

    def make(peer: HostilePacs | int, **settings: Any) -> Pacs:
        port = peer if isinstance(peer, int) else peer.port
        return Pacs(attrs.evolve(config, port=port, **settings))

    return make
