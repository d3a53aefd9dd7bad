"""A registry in a real PostgreSQL, and small artefacts with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gtr_batch.db import Database
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.governance.canary import with_canary
from gtr_batch.governance.registry import register_artefact
from gtr_batch.stage import write_artefact
from gtr_batch.stage.network import GTRNet
from tests.fixtures_db import *  # noqa: F403
from tests.fixtures_db import logins
from tests.unit.stage.small import small_manifest


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory) -> dict[str, Path]:
    """Three artefacts, by name; their weights are stored as float16 to be small."""
    torch.manual_seed(11)
    network = GTRNet("resnet10").eval()
    found = {}
    for name in ("old", "new", "third"):
        found[name] = tmp_path_factory.mktemp("artefact") / name
        version = write_artefact(found[name], network, small_manifest(name=name), torch.float16)
        with_canary(found[name], version)  # once for all tests: registration would record it each time
    return found


@pytest.fixture
def registry(database) -> PostgresRegistry:
    return PostgresRegistry(database)


@pytest.fixture
def second_session(dsn):
    """The same database through a connection of its own."""
    other = Database(logins(dsn))
    yield PostgresRegistry(other)
    other.close()


@pytest.fixture
def models(tmp_path) -> Path:
    """The store of registered artefacts."""
    return tmp_path / "models"


@pytest.fixture
def versions(registry, models, artefacts) -> dict[str, str]:
    """All three registered as candidates; version by name."""
    return {
        name: register_artefact(registry, models, folder, by="Ada", why="a test") for name, folder in artefacts.items()
    }
