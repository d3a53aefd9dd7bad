import pytest

from gtr_batch.domain.clinical import Covariates, Differentiation, Lauren
from gtr_batch.errors import InputRefused
from gtr_batch.nomogram import parse_inputs


def test_lawful_inputs_are_taken_as_typed():
    parsed = parse_inputs("6", " Poor", "DIFFUSE", "-0.5")

    assert parsed.rad_score == -0.5
    assert parsed.covariates == Covariates(6.0, Differentiation.POOR, Lauren.DIFFUSE)


@pytest.mark.parametrize("absent", [None, ""])
def test_what_is_not_given_is_missing(absent):
    assert parse_inputs(absent, absent, absent, 0).covariates == Covariates(None, None, None)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ((-1, None, None, 0), r"tumour size -1 cm is not possible"),
        ((0, None, None, 0), r"tumour size 0 cm"),
        ((41, None, None, 0), r"tumour size 41 cm"),
        ((float("nan"), None, None, 0), r"tumour size nan cm"),
        (("big", None, None, 0), r"tumour size \(cm\) 'big' is not a number"),
        ((6, "awful", None, 0), r"differentiation 'awful' is not known; one of: well, moderate, poor"),
        ((6, None, "lauren", 0), r"Lauren type 'lauren' is not known; one of: intestinal, diffuse, mixed"),
        ((6, None, None, float("nan")), r"rad-score nan is not possible"),
        ((6, None, None, "inf"), r"rad-score 'inf' is not possible"),
        ((6, None, None, "high"), r"rad-score 'high' is not a number"),
        ((6, None, None, ""), r"rad-score '' is not possible"),
    ],
)
def test_nonsense_is_refused_by_name(inputs, told: str):
    with pytest.raises(InputRefused, match=told):
        parse_inputs(*inputs)
