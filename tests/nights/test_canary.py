"""The canary: a machine that computes something else than the one that recorded it stages no patient."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import attrs
import pytest
import torch

from gtr_batch import night as steps
from gtr_batch.cli.doctor import examine
from gtr_batch.db.canaries import PostgresCanaries
from gtr_batch.domain.canary import CanaryOutcome
from gtr_batch.errors import CanaryFailed, DatabaseRefused, NightFailed, ServiceStopped
from gtr_batch.governance import restage
from gtr_batch.governance.canary import record
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.governance.switch import resume, stop
from gtr_batch.night.canary import CANARY, require
from gtr_batch.night.canary.series import SERIES_UID, STUDY_UID
from gtr_batch.preprocess import prepare
from gtr_batch.stage.network import GTRNet
from gtr_batch.wiring import open_governance, open_site
from tests.nights.conftest import NIGHT, with_model
from tests.nights.test_cli import gtr, settings  # noqa: F401 - fixtures

WHO = {"by": "Ada", "why": "a test"}


@pytest.fixture
def model(recorded, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(recorded, tmp_path / "model")


@pytest.fixture
def config(config, model):
    return with_model(config, model)


@pytest.fixture
def told() -> list[str]:
    """What operations were told."""
    return []


@pytest.fixture
def site(config, told):
    with open_site(config, alert=lambda subject, text: told.append(f"{subject}: {text}")) as opened:
        yield opened


@pytest.fixture
def patient(admit, enter_in_ehr, fill):
    """One patient with a study in the PACS."""
    admit("one")
    enter_in_ehr("one")
    fill()


def begun(site) -> list[list[str]]:
    return steps.intake(site, NIGHT, steps.query_pacs(site, NIGHT))


def through(site, shards, wanted=steps.SHARD_STEPS) -> None:
    for step in wanted:
        for shard in shards:
            step(site, NIGHT, shard)


def state(site) -> str:
    [case] = site.cases.of_night(NIGHT)
    return str(case.state)


def doctors_word(site) -> str:
    return next(finding.state for finding in examine(site) if finding.check == "canary")


def test_a_good_canary_lets_the_night_pass_and_leaves_nothing_but_its_own_row(site, patient, dsn, config):
    shards = begun(site)

    event = steps.canary(site, NIGHT)
    through(site, shards)
    summary = steps.close_night(site, NIGHT)

    assert event.outcome is CanaryOutcome.PASSED
    assert {one.found for one in event.deviations} == {0.0}  # the same machine and the same threads
    assert [one["outcome"] for one in summary["canary"]] == ["passed"]  # once for all steps of this machine
    assert summary["canary"][0]["seconds"] > 0
    assert summary["cases"] == 1
    assert state(site) == "committed"
    assert site.archive.find_series(STUDY_UID) == []
    assert site.cases.of_study(STUDY_UID) == []
    assert doctors_word(site) == "ok"
    assert not any(SERIES_UID in path.name for path in config.files.root.rglob("*"))


def flip_bit(site, monkeypatch, model):
    """One bit of one weight in memory, after the file was read and its digest was right."""
    weights = site.artefact_by(site.model_version).network.state_dict()["fc.weight"].view(torch.int32)
    weights[0, 0] ^= 1 << 30  # of the exponent


def another_field(site, monkeypatch, model):
    """A library that gives a bias field 5 % higher everywhere: a z-score would hide it from the network."""
    fit = prepare.fit_bias_field

    def higher(*given):
        found = fit(*given)
        return attrs.evolve(found, control=found.control + torch.log(torch.tensor(1.05)))

    monkeypatch.setattr(prepare, "fit_bias_field", higher)


def noise(site, monkeypatch, model):
    """A card that computes, and computes wrongly."""
    classify = GTRNet.classify
    made = torch.Generator().manual_seed(5)
    monkeypatch.setattr(
        GTRNet,
        "classify",
        lambda self, features: classify(self, features) + torch.randn(len(features), 4, generator=made),
    )


def nothing_finite(site, monkeypatch, model):
    classify = GTRNet.classify
    monkeypatch.setattr(GTRNet, "classify", lambda self, features: classify(self, features) * float("nan"))


def no_report(site, monkeypatch, model):
    """A library that raises where the report is written."""

    def broken(*_, **__):
        raise RuntimeError("of another version")

    monkeypatch.setattr("gtr_batch.report.case_report.build_report", broken)


def cut(site, monkeypatch, model):
    path = model / CANARY
    path.write_bytes(path.read_bytes()[:-4000])


def of_another_model(site, monkeypatch, model):
    manifest = json.loads((model / "manifest.json").read_text()) | {"name": "another"}
    (model / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (flip_bit, r"logits: .* away, at most"),
        (another_field, r"intensity: 0\.0\d+ away, at most 0\.005"),
        (noise, r"logits: .* away, at most"),
        (nothing_finite, r"stage: .*not finite"),
        (no_report, r"report: unexpected RuntimeError"),
        (cut, r"canary\.zip cannot be read"),
        (of_another_model, r"canary\.zip is of model"),
    ],
)
def test_whatever_fails_stops_the_night_before_a_patient_is_staged(
    site, patient, told, model, monkeypatch, fault, says
):
    fault(site, monkeypatch, model)
    shards = begun(site)

    with pytest.raises(CanaryFailed, match=says):
        steps.canary(site, NIGHT)
    through(site, shards, (steps.retrieve, steps.validate))
    for step in (steps.preprocess, steps.shadow):
        with pytest.raises(CanaryFailed, match=says):
            step(site, NIGHT, shards[0])
    with pytest.raises(NightFailed, match="no patient was staged after this"):
        steps.close_night(site, NIGHT)

    summary = site.nights.summary(NIGHT)
    assert state(site) == "validated"
    assert [one["outcome"] for one in summary["canary"]] == ["failed"]
    assert socket.gethostname() in summary["canary"][0]["sentence"]
    assert doctors_word(site) == "red"
    assert len(told) == 1
    assert "canary failed" in told[0]
    assert "gtr model canary" in told[0]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_canary_that_is_gone_after_the_model_had_one_stops_a_night_that_is_under_way(site, patient, model, prepared):
    shards = begun(site)
    steps.canary(site, NIGHT)
    through(site, shards, (steps.retrieve, steps.validate, *([steps.preprocess] if prepared else [])))
    (model / CANARY).unlink()

    with pytest.raises(CanaryFailed, match=r"canary\.zip is gone; this model had one"):
        steps.canary(site, NIGHT)
    with pytest.raises(CanaryFailed):
        (steps.stage if prepared else steps.preprocess)(site, NIGHT, shards[0])

    assert state(site) == ("preprocessed" if prepared else "validated")


def test_one_that_was_exchanged_is_not_believed(site, model, recorded):
    steps.canary(site, NIGHT)
    (model / CANARY).write_bytes((model / CANARY).read_bytes() + b"\0")

    with pytest.raises(CanaryFailed, match="changed since"):
        steps.canary(site, NIGHT)


def test_mended_the_night_goes_on_where_it_stood(site, patient, monkeypatch):
    shards = begun(site)
    noise(site, monkeypatch, None)
    with pytest.raises(CanaryFailed):
        steps.canary(site, NIGHT)
    monkeypatch.undo()

    steps.canary(site, NIGHT)
    through(site, shards)

    assert state(site) == "committed"
    assert [one["outcome"] for one in steps.close_night(site, NIGHT)["canary"]] == ["passed"]


def test_another_machine_shows_its_own_canary_before_it_stages_and_its_failure_stops_all(site, patient, monkeypatch):
    shards = begun(site)
    steps.canary(site, NIGHT)
    through(site, shards, (steps.retrieve, steps.validate, steps.preprocess))
    with monkeypatch.context() as second:
        second.setattr(socket, "gethostname", lambda: "second")
        noise(site, second, None)
        with pytest.raises(CanaryFailed, match="on second"):
            steps.stage(site, NIGHT, shards[0])

    with pytest.raises(CanaryFailed, match="on second"):  # the first one, which is well: a person looks
        steps.stage(site, NIGHT, shards[0])
    steps.canary(site, NIGHT)
    steps.stage(site, NIGHT, shards[0])

    assert state(site) == "staged"
    with monkeypatch.context() as second:
        second.setattr(socket, "gethostname", lambda: "second")
        with pytest.raises(CanaryFailed, match="on second"):  # that one still is not
            require(site, NIGHT, site.model_version)


def test_a_model_that_was_made_before_has_none_and_the_night_says_so(config, artefact, patient):
    with open_site(with_model(config, artefact)) as site:
        shards = begun(site)
        event = steps.canary(site, NIGHT)
        through(site, shards)
        summary = steps.close_night(site, NIGHT)

        assert event.outcome is CanaryOutcome.ABSENT
        assert "made before" in summary["canary"][0]["sentence"]
        assert state(site) == "committed"
        assert doctors_word(site) == "warn"


def test_a_stopped_service_stages_no_canary(site):
    stop(site, **WHO)
    with pytest.raises(ServiceStopped):
        steps.canary(site, NIGHT)
    resume(site, **WHO)

    assert steps.canary(site, NIGHT).outcome is CanaryOutcome.PASSED


def test_a_replay_waits_for_the_canary_of_its_own_model(config, gov, patient, recorded, challenger):
    models = config.training.models
    adopt(gov.registry, models, recorded, **WHO)
    other = register_artefact(gov.registry, models, challenger, **WHO)
    with open_site(config) as site:
        through(site, begun(site))

    (models / other / CANARY).unlink()

    with pytest.raises(CanaryFailed, match=f"canary of model {other[:12]}"):
        restage.compare(gov, other, nights=[NIGHT])


def test_a_registered_model_has_a_canary_from_the_beginning_and_only_a_governor_takes_another(
    config, gov, recorded, artefact, database
):
    version = adopt(gov.registry, config.training.models, artefact, **WHO)
    folder, book = config.training.models / version, PostgresCanaries(database)
    first = book.expected(version)
    written = (folder / CANARY).read_bytes()
    (folder / CANARY).unlink()

    event = record(gov, version, by="Grace", why="the card was changed, and judged")

    assert first == book.expected(version) == event.canary_sha256  # the same machine gives the same answer
    assert (folder / CANARY).read_bytes() == written
    assert [(one.outcome, one.canary_sha256) for one in book.history(version)] == [("recorded", first)] * 2
    mere = attrs.evolve(config, database=attrs.evolve(config.database, governor_dsn=""))
    with open_governance(mere) as nights_login, pytest.raises(DatabaseRefused):
        record(nights_login, version, **WHO)


def test_the_command_line_shows_the_failure_and_the_canary_by_hand(
    gtr,  # noqa: F811
    settings,  # noqa: F811
    config,
    patient,
):
    settings |= {"TRAINING__MODELS": config.training.models}
    adopted = gtr("model", "adopt", *("--by", "Ada", "--why", "a test"), **settings)
    kept = gtr("model", "list", "--json", **settings)
    version = json.loads(kept.stdout)["models"][0]["version"]
    folder = config.training.models / version
    body = (folder / CANARY).read_bytes()
    (folder / CANARY).write_bytes(b"")

    night = gtr("night", "--night", str(NIGHT), **settings)
    status = gtr("status", **settings)
    as_json = json.loads(gtr("status", "--json", **settings).stdout)
    (folder / CANARY).write_bytes(body)
    by_hand = gtr("model", "canary", version[:12], **settings)
    again = gtr("night", "--night", str(NIGHT), "--json", **settings)

    assert adopted.exit_code == 0
    assert night.exit_code != 0
    assert "no patient was staged" in night.stderr
    assert "canary failed" in status.stdout
    assert [one["outcome"] for one in as_json["canary"]] == ["failed"]
    assert [case["state"] for case in as_json["cases"]] == ["found"]
    assert by_hand.exit_code == 0
    assert "intensity" in by_hand.stdout
    assert [case["state"] for case in json.loads(again.stdout)["cases"]] == ["committed"]
