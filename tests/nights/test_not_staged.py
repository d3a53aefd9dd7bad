"""A whole night in which the model has no business answering: cases without a stage, from PACS to PACS."""

from __future__ import annotations

import attrs
import psycopg2
import pydicom
import pytest
from rich.console import Console

from gtr_batch import night as steps
from gtr_batch.cli.table import show_night
from gtr_batch.domain.abstention import AbstentionRule, FeatureReference
from gtr_batch.domain.lifecycle import Approval
from gtr_batch.governance import restage
from gtr_batch.governance.promotion import promote, to_shadow
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.night.close import night_cases
from gtr_batch.stage import load_artefact, write_artefact
from gtr_batch.wiring import open_site
from tests.nights.conftest import NIGHT, random_artefact

WHO = {"by": "Ada", "why": "a test"}


def run(site, night=NIGHT, *, shadow=False):
    shards = steps.intake(site, night, steps.query_pacs(site, night))
    for step in (*steps.SHARD_STEPS, *([steps.shadow] if shadow else [])):
        for shard in shards:
            step(site, night, shard)
    return steps.close_night(site, night)


def strict(folder, **rule):
    """A model with random weights that takes every image for one unlike its patients'."""
    loaded = load_artefact(random_artefact(folder, 7))
    manifest = attrs.evolve(loaded.manifest, abstention=AbstentionRule(**rule))
    write_artefact(folder, loaded.network, manifest)
    return folder


@pytest.fixture(scope="session")
def unlike(tmp_path_factory):
    near = FeatureReference((1e3,) * 512, (1.0,) * 512, ((0.0,) * 512,), 1.0, (0.5,) * 199)
    return strict(tmp_path_factory.mktemp("unlike"), features=near)


@pytest.fixture(scope="session")
def signless(tmp_path_factory):
    return strict(tmp_path_factory.mktemp("signless"), tumour_scores=(1e6,) * 199)


@pytest.fixture
def not_staging(config, unlike):
    """The small hospital, with a model that has a reference."""
    with open_site(attrs.evolve(config, stage=attrs.evolve(config.stage, artefact=unlike))) as opened:
        yield opened


def the_worklist(dsn):
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select ct, p_t1, supporting_p_t1, refusal_code, refusal_sentence, delivered_at from worklist_annotation"
        )
        [row] = cursor.fetchall()
    connection.close()
    return row


@pytest.mark.slow
def test_a_case_without_a_stage_is_delivered_with_its_images_and_its_reason(
    not_staging, admit, enter_in_ehr, fill, tmp_path, dsn, dciodvfy
):
    site = not_staging
    admit("one")
    enter_in_ehr("one")
    fill()

    summary = run(site)

    assert summary["states"] == {"committed": 1}
    assert summary["stages"] == {}
    assert summary["not_staged"] == {"unlike_reference": 1}
    [case] = night_cases(site, NIGHT)
    assert case.t_stage is case.probabilities is case.supporting is case.stage_set is None
    assert case.not_staged == "unlike_reference"
    assert case.reason.startswith("Not staged: the key slice's features are unlike")
    assert case.to_json()["not_staged"] == "unlike_reference"
    ct, p_t1, nomogram, code, sentence, delivered_at = the_worklist(dsn)
    assert ct is p_t1 is nomogram is None
    assert (code, sentence) == ("unlike_reference", case.reason)
    assert delivered_at is not None
    held = [pydicom.dcmread(p) for p in sorted((tmp_path / "store" / str(NIGHT)).glob("*/report/*.dcm"))]
    assert sorted(ds.Modality for ds in held) == ["KO", "OT", "OT", "SR"]
    [report] = [ds.to_json() for ds in held if ds.Modality == "SR"]
    assert case.reason in report
    assert not any(code in report for code in ("1228889001", "1228929004", "1228938002", "1228944003"))
    for path in (tmp_path / "store" / str(NIGHT)).glob("*/report/*.dcm"):
        assert "Error" not in dciodvfy(path)
    console = Console(record=True, width=200)
    show_night(console, NIGHT, [case])
    assert "none" in console.export_text()
    assert run(site)["not_staged"] == summary["not_staged"]  # a second run changes nothing


@pytest.mark.slow
def test_a_series_without_a_sign_of_a_tumour_gets_no_stage_and_at_level_nought_it_does(
    config, signless, admit, enter_in_ehr, fill
):
    admit("one")
    enter_in_ehr("one")
    fill()
    strict_site = attrs.evolve(config, stage=attrs.evolve(config.stage, artefact=signless))

    with open_site(strict_site) as site:
        found = run(site)
        [case] = night_cases(site, NIGHT)

    assert found["not_staged"] == {"no_tumour_sign": 1}
    assert case.key_slice_source == "automatic"
    with open_site(attrs.evolve(strict_site, stage=attrs.evolve(strict_site.stage, abstain_level=0.0))) as site:
        events = [e["detail"] for e in site.cases.events(case.case_id) if e["state"] == "staged"]
    assert events[0]["p_tumour_sign"] == pytest.approx(1 / 200)


@pytest.mark.slow
def test_a_challenger_that_gives_no_stage_is_a_reason_and_its_replay_takes_the_stage_back(
    config, gov, recorded, challenger, unlike, admit, enter_in_ehr, fill, dsn
):
    admit("one")
    enter_in_ehr("one")
    fill()
    models = config.training.models
    champion = adopt(gov.registry, models, recorded, **WHO)
    careful = register_artefact(gov.registry, models, unlike, **WHO)
    to_shadow(gov.registry, careful, **WHO)

    with open_site(config) as site:
        summary = run(site, shadow=True)

    assert summary["stages"]
    [why] = summary["shadow"][careful]["errors"].values()
    assert why.startswith("Not staged:")
    found = restage.compare(gov, careful, nights=[NIGHT])
    [compared] = found.cases
    assert compared.before.model_version == champion
    assert compared.after.t_stage == "not staged: unlike_reference"
    assert compared.changed
    assert found.agreement["cases"] == 0
    approval = Approval(careful, champion, "Ada", "a test")
    promote(gov.registry, careful, approval, without_gate=True)
    sent = restage.deliver(gov, found.digest, **WHO)
    assert (len(sent.delivered), sent.failed) == (1, {})
    assert the_worklist(dsn)[:4] == (None, None, None, "unlike_reference")

    # The other way round: what the champion gave no stage, no challenger is compared on.
    with open_site(config) as site:
        to_shadow(gov.registry, register_artefact(gov.registry, models, challenger, **WHO), **WHO)
        ids = [c.case_id for c in site.cases.of_night(NIGHT)]
        assert set(steps.shadow(site, NIGHT, ids).values()) == {0}
