"""What each criterion of the gate needs, said before a holdout is planned."""

from __future__ import annotations

import attrs
import pytest
from scipy.stats import binom
from typer.testing import CliRunner

from gtr_batch.cli import app
from gtr_batch.config import GovernanceConfig
from gtr_batch.governance.error_rates import World, simulate
from gtr_batch.governance.needs import patients_each_criterion_needs
from gtr_batch.metrics.intervals import wilson
from gtr_batch.metrics.noninferiority import patients_for
from gtr_batch.simulation.hospital.gate_worlds import draw

SETTINGS = GovernanceConfig()
EXTERNAL = World(343, 0.0, 0.867, 0.1, (0.25, 0.25, 0.25, 0.25))


def test_accuracy_needs_what_its_own_rule_states():
    needs = patients_each_criterion_needs(World(343), simulate, SETTINGS)

    assert abs(needs["accuracy"] - patients_for(0.05, 0.1, alpha=0.025)) < 60  # the share of pairs that differ is drawn


def test_t4_needs_patients_until_its_upper_bound_lies_below_the_cap():
    needs = patients_each_criterion_needs(attrs.evolve(EXTERNAL, t4=0.03), draw, SETTINGS)
    n = round(needs["t4_understaging"] / 4)
    most = max(k for k in range(n) if wilson(k, n, level=0.9)[1] <= SETTINGS.t4_understaging_cap)

    assert 60 < n < 250
    assert binom.cdf(most, n, 0.03) > 0.8


def test_a_champion_above_the_cap_can_be_followed_by_one_that_is_no_worse():
    """As in the paper's second external set: 18% of T4 were staged lower. By the cap alone no number would do."""
    world = attrs.evolve(EXTERNAL, t4=0.18)

    needs = patients_each_criterion_needs(world, draw, SETTINGS)
    by_cap_alone = patients_each_criterion_needs(world, draw, attrs.evolve(SETTINGS, t4_margin=0.0))

    assert 300 < needs["t4_understaging"] < 3000
    assert by_cap_alone["t4_understaging"] is None


def test_a_later_look_needs_more():
    first, third = (patients_each_criterion_needs(World(343), simulate, SETTINGS, look=k) for k in (1, 3))

    assert all(third[name] >= first[name] for name in first)
    assert third["accuracy"] > first["accuracy"]


def test_the_command_takes_accuracy_mix_and_t4():
    arguments = ["model", "error-rates", "--runs", "1", "--patients", "60", "--processes", "1"]
    printed = CliRunner().invoke(app, [*arguments, "--accuracy", "0.867", "--mix", "15/15/35/35", "--t4", "0.18"])
    wrong = CliRunner().invoke(app, [*arguments, "--mix", "15/15/70"])

    assert printed.exit_code == 0, printed.output
    assert "look 1 at a level of 2.5%" in printed.output
    assert "t4 understaging" in printed.output
    assert wrong.exit_code != 0


@pytest.mark.parametrize("t4", [0.6, 0.9])
def test_networks_that_cannot_be_are_refused(t4):
    with pytest.raises(ValueError, match="no network has an accuracy"):
        draw(attrs.evolve(EXTERNAL, champion=0.95, t4=t4), 0)
