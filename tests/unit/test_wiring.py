"""The real things are built once for each opened site, and nothing connects before it is used."""

from __future__ import annotations

from collections import Counter

import pytest

from gtr_batch import wiring
from gtr_batch.config import load
from gtr_batch.db import Database
from gtr_batch.db.registry import PostgresRegistry
from gtr_batch.files import LocalFileStore
from gtr_batch.pacs import Pacs

BUILT = (Database, Pacs, PostgresRegistry, LocalFileStore)


@pytest.fixture
def config(tmp_path):
    """Settings of servers that are not there: whoever connects fails."""
    return load(
        environ={
            "GTR_DATABASE__DSN": "postgresql://nobody@127.0.0.1:1/gtr",
            "GTR_PACS__HOST": "127.0.0.1",
            "GTR_PACS__PORT": "1",
            "GTR_FILES__ROOT": str(tmp_path / "store"),
        }
    )


@pytest.fixture
def built(monkeypatch) -> Counter[str]:
    """How often each adapter was built."""
    counted: Counter[str] = Counter()
    for kind in BUILT:

        def counting(self, *args, _kind=kind, _begin=kind.__init__, **kwargs):
            counted[_kind.__name__] += 1
            _begin(self, *args, **kwargs)

        monkeypatch.setattr(kind, "__init__", counting)
    return counted


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        (wiring.open_site, {"Database": 1, "Pacs": 1, "PostgresRegistry": 1, "LocalFileStore": 1}),
        # A replay writes among files of its own, never among the nights.
        (wiring.open_governance, {"Database": 1, "Pacs": 1, "PostgresRegistry": 1, "LocalFileStore": 2}),
        (wiring.open_training, {"Database": 1, "Pacs": 1, "PostgresRegistry": 1, "LocalFileStore": 1}),
        (wiring.open_audit, {"Database": 1, "PostgresRegistry": 1}),
    ],
)
def test_each_adapter_of_an_opened_site_is_built_once(config, built, opened, expected):
    with opened(config) as site:
        assert site is not None

    assert built == expected


def test_what_decides_and_what_stages_share_registry_and_settings(config):
    with wiring.open_governance(config) as gov:
        assert gov.night.model_store.registry is gov.registry
        assert gov.night.files.root == config.files.root
        assert gov.scratch.root == config.files.root / "restage"


@pytest.mark.parametrize("opened", [wiring.open_site, wiring.open_governance, wiring.open_training, wiring.open_audit])
def test_the_database_is_closed_whatever_happens_inside(config, monkeypatch, opened):
    closed = []

    def close(database: Database) -> None:
        closed.append(database)

    monkeypatch.setattr(Database, "close", close)

    with pytest.raises(ZeroDivisionError), opened(config):
        raise ZeroDivisionError

    assert len(closed) == 1


def test_progress_is_told_to_who_asked_for_it(config):
    def each(*_: object) -> None:
        """A bar."""

    with wiring.open_governance(config, progress=each) as gov, wiring.open_training(config, progress=each) as training:
        assert gov.night.progress is each
        assert training.progress is each
