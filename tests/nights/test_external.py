"""Another hospital's series, staged by a registered model: Table 2 for them, the gate's view, a line on the card."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.domain.identifiers import derived_uid
from gtr_batch.errors import CannotTell, InputRefused
from gtr_batch.governance.external import evaluate_external, external_of, read_labels
from gtr_batch.governance.registry import adopt, register_artefact
from gtr_batch.writing import make_folder
from tests.nights.conftest import PHI

WHO = {"by": "Ada", "why": "a test"}
HEADER = "series_uid,patient,t_stage,key_slice_sop_uid\n"


@pytest.fixture
def elsewhere(admit, tmp_path):
    """A function that writes series of another hospital, and the labels of these and of one that is not there."""

    def write(**stages):
        for name in stages:
            admit(name, skip=(9,) if name == "gap" else ())
        rows = [(name, stage, derived_uid("phantom", name, "11")) for name, stage in stages.items()]
        rows.append(("absent", "T1", ""))
        labels = tmp_path / "labels.csv"
        labels.write_text(HEADER + "".join(f"{derived_uid('phantom-series', n)},p-{n},{t},{k}\n" for n, t, k in rows))
        make_folder(tmp_path / "dicom")
        return {"dicom": tmp_path / "dicom", "labels": labels}

    return write


@pytest.mark.slow
def test_stages_what_a_night_would_and_keeps_counts_and_metrics_alone(
    gov, config, recorded, challenger, elsewhere, tmp_path
):
    adopt(gov.registry, config.training.models, recorded, **WHO)
    version = register_artefact(gov.registry, config.training.models, challenger, **WHO)
    gov.night.settings_history.set("audit.tolerated_odds_ratio", 1.4, **WHO)  # the gate's tolerance, and the monitor's

    found = evaluate_external(gov, version, **elsewhere(one="T2", two="T4b", gap="T3"), name="Elsewhere", by="Ada")

    assert (found.series, found.staged, found.patients) == (4, 2, 2)
    assert found.not_staged == {"series_incomplete": 1, "slice_gap": 1}
    assert found.key_slices == {"ehr_reference": 2}
    assert [sum(row) for row in found.performance.confusion] == [0, 1, 0, 1]
    assert found.gate is not None
    assert found.gate.patients == 2
    assert [c.limit for c in found.gate.criteria if c.name == "calibration_shift"] == [1.4]
    assert external_of(gov.registry, version).cohorts == (found,)
    assert not any(secret in repr(found) for secret in (*PHI, "p-one"))
    assert list((tmp_path / "training").iterdir()) == []


@pytest.mark.slow
def test_the_command_prints_table_2_and_the_card_lists_the_cohort(gov, config, recorded, elsewhere, tmp_path):
    version = adopt(gov.registry, config.training.models, recorded, **WHO)
    settings = {
        "GTR_PACS__PORT": str(config.pacs.port),
        "GTR_DATABASE__DSN": config.database.dsn,
        "GTR_DATABASE__GOVERNOR_DSN": config.database.governor_dsn,
        "GTR_FILES__ROOT": str(config.files.root),
        "GTR_STAGE__ARTEFACT": str(recorded),
        "GTR_TRAINING__FOLDER": str(config.training.folder),
        "GTR_TRAINING__MODELS": str(config.training.models),
        "GTR_CONFIG": None,
    }
    given = elsewhere(one="T2")
    command = ["evaluate", "external", "--dicom", str(given["dicom"]), "--labels", str(given["labels"]), "--by", "Ada"]

    shown = CliRunner().invoke(app, command, env=settings)

    assert shown.exit_code == 0, shown.stderr
    assert "1 of 2 series, 1 patients; series_incomplete 1" in shown.stdout
    assert "sensitivity" in shown.stdout
    [cohort] = external_of(gov.registry, version).cohorts
    assert cohort.gate is None  # the champion itself: nobody to compare with
    page = (config.training.models / "cards" / version / "card.html").read_text()
    assert cohort.name == "dicom"  # the folder's
    assert "<h3>dicom</h3>" in page
    assert "1 of 2 series of another hospital staged" in page


def test_nothing_is_kept_where_no_series_could_be_staged(gov, config, recorded, elsewhere):
    version = adopt(gov.registry, config.training.models, recorded, **WHO)

    with pytest.raises(CannotTell, match="none of the 1 labelled series could be staged: series_incomplete 1"):
        evaluate_external(gov, version, **elsewhere(), name="Elsewhere", by="Ada")

    assert external_of(gov.registry, version).cohorts == ()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("series,patient,t_stage\n1.2,p,T1\n", "header must be"),
        (HEADER, "no series is labelled"),
        (f"{HEADER}1.2,p,T1,\n1.2,p,T1,\n", "labelled twice"),
        (f"{HEADER}1.2,p,Tis,\n", "row 2: t_stage must be"),
        (f"{HEADER}1.2,,T1,\n", "row 2: patient is empty"),
        (f"{HEADER}1.2,p,T1,1.3,more\n", "have not the 4 fields"),
    ],
)
def test_labels_that_cannot_be_used_are_refused_by_their_row(tmp_path, body, why):
    (tmp_path / "labels.csv").write_text(body)

    with pytest.raises(InputRefused, match=why):
        read_labels(tmp_path / "labels.csv")


def test_a_stage_may_have_its_letter_and_the_key_slice_may_be_left_out(tmp_path):
    (tmp_path / "labels.csv").write_text("series_uid,patient,t_stage\n1.2,p,T4a\n1.3,q,T1b\n")

    assert [one.t_stage for one in read_labels(tmp_path / "labels.csv")] == ["T4", "T1"]
