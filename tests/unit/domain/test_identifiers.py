"""UIDs and AE titles are checked where they enter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtr_batch.domain.identifiers import AETitle, Uid, case_id, derived_uid
from gtr_batch.errors import CaseRejected, ConfigError


@pytest.mark.parametrize(
    "text", ["", "1", "1.", ".1", "1..2", "1.02", "../etc", "1.2/3", "1.2\n", "1." + "2" * 64, "a.b"]
)
def test_refuses_an_invalid_uid(text):
    with pytest.raises(CaseRejected) as caught:
        Uid(text)

    assert caught.value.code == "invalid_uid"


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_a_derived_uid_is_lawful_and_always_the_same(parts):
    assert Uid(derived_uid(*parts)) == derived_uid(*parts)


def test_a_case_is_named_by_its_study_and_series():
    assert case_id("1.2", "1.3") == case_id("1.2", "1.3")
    assert case_id("1.2", "1.3") != case_id("1.3", "1.2")


@pytest.mark.parametrize("text", ["", " ", "SEVENTEEN_LETTERS", "A\\B", "Ä"])
def test_refuses_an_impossible_ae_title(text):
    with pytest.raises(ConfigError):
        AETitle(text)
