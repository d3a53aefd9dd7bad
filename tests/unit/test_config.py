"""Settings are read once, and every mistake is named."""

from datetime import time

import pytest

from gtr_batch.config import load
from gtr_batch.errors import ConfigError


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
