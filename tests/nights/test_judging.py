"""A candidate before the gate: the holdout is opened with a name, both models stage it, the verdict is kept."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
import torch

from gtr_batch.domain.lifecycle import Approval
from gtr_batch.domain.model_json import to_json
from gtr_batch.domain.shadow import ShadowAnswer
from gtr_batch.errors import GovernanceRefused, InputRefused
from gtr_batch.governance.card import write_card
from gtr_batch.governance.evaluation import evaluate, in_words, openings_in_words, shadow_in_words
from gtr_batch.governance.promotion import promote, retire, to_shadow
from gtr_batch.governance.registry import adopt, gate_verdict, register_artefact
from gtr_batch.governance.site import GovernanceSite
from gtr_batch.governance.withdrawal import withdraw
from gtr_batch.simulation.hospital.blunt import blunted
from gtr_batch.stage import load_artefact, write_artefact
from gtr_batch.training import steps
from tests.nights.conftest import with_its_canary
from tests.nights.test_retraining import site  # noqa: F401 - a fixture

WHO = {"by": "Ada", "why": "a test"}


class Watched:
    """What a model said in shadow, on three nights of one case each."""

    def of_model(self, version):
        said = [("2026-02-01", "T1"), ("2026-02-02", "T2"), ("2026-02-03", None)]
        return [
            ShadowAnswer(
                model_version=version,
                champion_version="c" * 64,
                case_id=str(number),
                night=date.fromisoformat(night),
                t_stage=stage,
                champion_stage="T1",
            )
            for number, (night, stage) in enumerate(said)
        ]


@pytest.fixture
def cohort(site) -> str:  # noqa: F811
    return steps.freeze_cohort(site)


@pytest.fixture
def gov(site):  # noqa: F811
    """Those who decide; the settings are the training site's."""
    night = SimpleNamespace(config=site.config, settings=site.config, shadows=Watched())
    return GovernanceSite(
        night=night, registry=site.registry, restages=None, approvals=None, scratch=None, confirmations=None
    )


@pytest.fixture(scope="session")
def blunt(small_demo, tmp_path_factory) -> Path:
    """A disturbed copy of the demo's model, with its canary."""
    folder = tmp_path_factory.mktemp("blunt") / "artefact"
    blunted(small_demo, folder, amount=2.0, name="blunt")
    return with_its_canary(folder)


@pytest.fixture
def candidate(site, cohort, blunt) -> str:  # noqa: F811
    """The disturbed copy, registered for the cohort."""
    return register_artefact(site.registry, site.config.training.models, blunt, cohort_digest=cohort, **WHO)


def test_a_verdict_says_who_opened_which_holdout_for_what_and_under_which_settings(site, gov, cohort, candidate):  # noqa: F811
    found = evaluate(gov, site, candidate, **WHO)

    champion = site.registry.champion()
    assert (found.model_version, found.champion, found.cohort) == (candidate, champion, cohort)
    assert found.settings["governance.accuracy_margin"] == site.config.governance.accuracy_margin
    assert [(o.model_version, o.opened_by, o.why) for o in site.registry.openings(cohort)] == [
        (candidate, "Ada", "a test")
    ]
    assert [e.action for e in site.registry.history(champion)] == ["register", "adopt"]
    assert (found.look.number, found.look.level) == (1, site.config.governance.error_budget / 2)
    kept = site.registry.document(candidate, "gate")
    assert (kept["verdict"], kept["criteria"]) == (found.verdict, to_json(found.criteria))
    assert gate_verdict(site.registry, candidate) == found
    (patients,) = [c for c in found.criteria if c.name == "patients"]
    assert (patients.verdict, patients.value) == ("cannot tell", found.patients)  # a handful


def test_the_card_and_the_command_say_who_opened_the_holdout_how_often_and_why(site, gov, candidate):  # noqa: F811
    evaluate(gov, site, candidate, **WHO)
    evaluate(gov, site, candidate, by="Eve", why="a second look")

    page = write_card(gov.registry, site.config.training.models, candidate, by="Ada").read_text()

    (table,) = re.findall(r"Openings of this holdout</h3>\s*<table>(.*?)</table>", page, re.DOTALL)
    opened = [re.findall(r"<td[^>]*>(?:<code>)?([^<]*)", row) for row in table.split("</tr>")[1:-1]]
    assert [row[1:] for row in opened] == [[candidate[:12], "Ada", "a test"], [candidate[:12], "Eve", "a second look"]]
    said = openings_in_words(gov, candidate)
    assert said.startswith("opened 2 times, last on ")
    assert said.endswith(f" UTC for {candidate[:12]} by Eve: a second look")


def test_a_verdict_names_no_patient_and_holds_no_nan(site, gov, candidate):  # noqa: F811
    text = json.dumps(to_json(evaluate(gov, site, candidate, **WHO)), allow_nan=False, default=str)

    assert not any(f'"s{k:03d}"' in text for k in range(44))
    assert "SECRET" not in text
    assert "SECRET" not in write_card(gov.registry, site.config.training.models, candidate, by="Ada").read_text()


def test_asked_twice_the_gate_says_the_same(site, gov, candidate):  # noqa: F811
    first, second = (evaluate(gov, site, candidate, **WHO) for _ in range(2))

    same = ("verdict", "criteria", "subgroups", "models", "curves", "settings_digest")
    assert [getattr(first, k) for k in same] == [getattr(second, k) for k in same]


def test_the_words_for_the_person_hold_every_criterion(site, gov, candidate):  # noqa: F811
    found = evaluate(gov, site, candidate, **WHO)

    said = in_words(found)

    assert said.startswith(f"**Verdict: {found.verdict}.** {found.sentence}")
    assert all(f"| {c.name.replace('_', ' ')} | {c.verdict} |" in said for c in found.criteria)


@pytest.mark.parametrize(("nights", "verdict"), [(2, "pass"), (3, "cannot tell")])
def test_a_site_may_ask_for_nights_in_shadow_and_failed_ones_do_not_count(site, gov, candidate, nights, verdict):  # noqa: F811
    governance = attrs.evolve(site.config.governance, shadow_nights=nights)
    gov.night.settings = attrs.evolve(site.config, governance=governance)
    to_shadow(site.registry, candidate, **WHO)

    found = evaluate(gov, site, candidate, **WHO)

    (shadow,) = [c for c in found.criteria if c.name == "shadow"]
    assert (shadow.verdict, shadow.value) == (verdict, 2)
    assert shadow_in_words(gov, candidate) == "2 nights, 2 cases, 1 as the champion"


def test_only_a_candidate_or_one_in_shadow_is_judged(site, gov, candidate):  # noqa: F811
    retire(site.registry, candidate, **WHO)

    with pytest.raises(GovernanceRefused, match="is retired"):
        evaluate(gov, site, candidate, **WHO)


def test_a_holdout_is_opened_for_nobody_and_for_no_reason_never(site, gov, cohort, candidate):  # noqa: F811
    with pytest.raises(InputRefused, match="by is empty"):
        evaluate(gov, site, candidate, by=" ", why="a test")

    assert site.registry.openings(cohort) == []
    assert openings_in_words(gov, candidate) == ""


def criteria_named(found, name):
    return [c for c in found.criteria if c.name == name]


def always(model: Path, stage: int, folder: Path) -> Path:
    """A copy of a model that gives every slice this stage (0 for T1)."""
    made = load_artefact(model)
    with torch.no_grad():
        made.network.fc.weight.zero_()
        made.network.fc.bias.copy_(torch.nn.functional.one_hot(torch.tensor(stage), 4) * 5.0)
    write_artefact(folder, made.network, attrs.evolve(made.manifest, name=folder.name))
    return folder


def test_a_candidate_is_held_against_a_champion_of_the_past_as_well(site, gov, cohort, small_demo, tmp_path):  # noqa: F811
    """The first champion finds T4, its successor, promoted without the gate, none; the next candidate is told so."""
    models = site.config.training.models
    first = adopt(site.registry, models, always(small_demo, 3, tmp_path / "first"), **WHO)
    second = register_artefact(
        site.registry, models, always(small_demo, 0, tmp_path / "2nd"), cohort_digest=cohort, **WHO
    )
    assert criteria_named(evaluate(gov, site, second, **WHO), "best_champion") == []
    promote(site.registry, second, Approval(second, first, **WHO), without_gate=True)
    version = register_artefact(
        site.registry, models, always(small_demo, 1, tmp_path / "3rd"), cohort_digest=cohort, **WHO
    )

    judged = evaluate(gov, site, version, **WHO)
    (held,) = criteria_named(judged, "best_champion")
    (site.registry.model(first).folder / "manifest.json").write_text("{}")
    (lost,) = criteria_named(evaluate(gov, site, version, **WHO), "best_champion")
    withdraw(site.registry, first, **WHO, shown=second)

    assert judged.look.number == 2  # of models, not of openings
    assert judged.look.sentence in in_words(judged)
    assert f"earlier champion {first[:12]}" in held.sentence
    assert f"Cannot be asked, since files are gone or changed: {first[:12]}" in lost.sentence
    assert lost.verdict == "cannot tell"
    assert criteria_named(evaluate(gov, site, version, **WHO), "best_champion") == []


def test_a_model_from_elsewhere_is_judged_on_a_holdout_that_somebody_names(site, gov, cohort, small_demo, tmp_path):  # noqa: F811
    """The demo's manifest names the cohort it was made from, which this hospital never froze."""
    blunted(small_demo, tmp_path / "elsewhere", amount=1.0, name="elsewhere")
    models = site.config.training.models
    version = register_artefact(site.registry, models, tmp_path / "elsewhere", **WHO)
    adopt(site.registry, models, small_demo, **WHO)

    with pytest.raises(InputRefused, match="was not frozen here"):
        evaluate(gov, site, version, **WHO)
    found = evaluate(gov, site, version, cohort=cohort, **WHO)

    assert found.cohort == cohort
