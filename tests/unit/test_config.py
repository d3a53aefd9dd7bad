"""Settings are read once, and every mistake is named."""

import re
import typing
from datetime import time
from pathlib import Path

import attrs
import pytest

from gtr_batch.config import Config, load
from gtr_batch.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = [
    f"{section.name}.{setting.name}"
    for section in attrs.fields(Config)
    for setting in attrs.fields(typing.get_type_hints(Config)[section.name])
    if not setting.name.startswith("share_")  # read together, as `AuditConfig.shares`
]


def test_every_setting_is_read_by_code():
    """A setting that nothing reads promises what does not happen."""
    modules = [path for folder in ("gtr_batch", "plugins", "dags") for path in (REPOSITORY / folder).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in modules if path.name != "config.py")

    unread = [name for name in SETTINGS if not re.search(rf"\.{name.split('.')[1]}\b", code)]

    assert len(SETTINGS) > 100
    assert unread == []


def test_the_settings_that_the_page_shows_are_settings(tmp_path):
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    shown = "\n".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    path = tmp_path / "gtr.toml"
    path.write_text(shown, encoding="utf-8")

    assert load(path, {}).pacs.called_ae_title == "PACS"


@pytest.mark.parametrize("setting", ["settle_minutes", "look_back_days"])
@pytest.mark.parametrize("value", ["-1", "100000"])
def test_a_night_neither_waits_nor_looks_back_for_ever(setting, value):
    with pytest.raises(ConfigError, match=f"night.{setting} is {value}; from 0 to 1440"):
        load(environ={f"GTR_NIGHT__{setting.upper()}": value})


def test_the_environment_wins_over_the_file(tmp_path):
    path = tmp_path / "gtr.toml"
    path.write_text('[pacs]\nport = 104\ncalled_ae_title = "FILE"\n[night]\nready_by = "07:15"\n')

    config = load(path, {"GTR_PACS__PORT": "4242", "GTR_REPORT__REFUSAL_SR": "yes"})

    assert (config.pacs.port, config.pacs.called_ae_title) == (4242, "FILE")
    assert config.night.ready_by == time(7, 15)
    assert config.report.refusal_sr is True


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[pacs]\nprot = 1\n", "pacs.prot"),
        ("[pasc]\nport = 1\n", "pasc"),
        ('[pacs]\nport = "many"\n', "pacs.port"),
        ('[pacs]\nretrieve_mode = "fetch"\n', "retrieve_mode"),
        ('[report]\nrefusal_sr = "perhaps"\n', "refusal_sr"),
        ("[pacs\n", "gtr.toml"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path, text, named):
    path = tmp_path / "gtr.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=named):
        load(path, {})


def test_a_settings_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(tmp_path / "none.toml", {})


def test_dsns_are_not_in_the_text_of_the_settings():
    assert "hunter2" not in repr(load(None, {"GTR_DATABASE__DSN": "postgresql://gtr:hunter2@db/gtr"}))
