import attrs
import numpy as np
import pytest

from gtr_batch.domain.score import AnswerSource, StageAnswer
from gtr_batch.domain.staging import CaseStaging, Flag, StageProbabilities, StageSet, TStage
from gtr_batch.explain import overlay, overlay_rgb
from tests.builders import a_manifest, not_staged

STAGING = CaseStaging(
    t_stage=TStage.T3,
    probabilities=StageProbabilities((0.02, 0.11, 0.79, 0.08)),
    slices=(),
    key_slice_source="ehr_reference",
    model_version="0123456789abcdef" * 4,
)
CENTRE = np.s_[200:300, 150:350]  # away from all writing


def burned_in(monkeypatch, staging, manifest, size=512, answer=None):
    """The texts that are written, and the picture."""
    written = []
    write = overlay._write
    monkeypatch.setattr(
        overlay, "_write", lambda pen, at, text, *rest: (written.append(text), write(pen, at, text, *rest))
    )
    picture = overlay_rgb(np.zeros((size, size)), np.zeros((size, size)), staging, manifest, answer)
    return "\n".join(written), picture


def test_the_answer_is_burned_in_and_that_it_is_not_verified(monkeypatch):
    texts, _ = burned_in(monkeypatch, STAGING, a_manifest(name="GTRNet"))

    assert "AI result - not verified" in texts
    assert "cT3    P: T1 0.02  T2 0.11  T3 0.79  T4 0.08" in texts
    assert "Grad-CAM for T3; GTRNet 0123456789ab" in texts
    assert "demo" not in texts


def test_the_answer_that_counts_is_burned_in_with_its_set_of_stages(monkeypatch):
    nomogram = StageAnswer(AnswerSource.NOMOGRAM, TStage.T2, StageProbabilities((0.1, 0.6, 0.2, 0.1)))
    staging = attrs.evolve(STAGING, stage_set=StageSet(TStage.T2, TStage.T3, 0.9))

    texts, _ = burned_in(monkeypatch, staging, a_manifest(), answer=nomogram)

    assert "cT2    P: T1 0.10  T2 0.60  T3 0.20  T4 0.10" in texts
    assert "T2-T3 (90%), by the nomogram" in texts
    assert "Grad-CAM for T3" in texts


def test_a_case_without_a_stage_says_so_and_shows_no_probability(monkeypatch):
    texts, _ = burned_in(monkeypatch, not_staged(STAGING), a_manifest(name="GTRNet"))

    assert "Not staged: image unlike those of the model's patients" in texts
    assert "Grad-CAM; GTRNet" in texts
    assert "AI result - not verified" in texts
    assert "T3" not in texts
    assert "P:" not in texts


def test_the_demos_model_and_an_automatic_key_slice_are_burned_in(monkeypatch):
    texts, _ = burned_in(monkeypatch, attrs.evolve(STAGING, flags=(Flag.AUTOMATIC_KEY_SLICE,)), a_manifest(demo=True))

    assert "demo, not for patients" in texts
    assert "key slice chosen automatically" in texts


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_all_writing_lies_inside_the_picture(monkeypatch, size: int):
    flags = (Flag.TIE, Flag.VOTE_MEAN_DISAGREE, Flag.AUTOMATIC_KEY_SLICE, Flag.MISSING_COVARIATES)

    _, picture = burned_in(
        monkeypatch, attrs.evolve(STAGING, flags=flags), a_manifest(name="GTRNet of the hospital", demo=True), size
    )

    middle_grey = np.bincount(picture[..., 0].ravel()).argmax()
    marked = (picture != middle_grey).any(axis=-1)
    assert marked.mean() > 0.01
    assert not marked[:, -1].any()
    assert not marked[-1].any()
    assert not marked[0].any()


def test_without_heat_the_slice_is_the_window_in_grey():
    hu = np.tile(np.linspace(-400, 500, 512), (512, 1))
    low, high = a_manifest().contract.window_hu

    picture = overlay_rgb(hu, np.zeros_like(hu), STAGING, a_manifest())[CENTRE]

    expected = np.clip((hu[CENTRE] - low) / (high - low), 0, 1) * 255
    assert picture.dtype == np.uint8
    assert np.abs(picture - expected[..., None]).max() <= 0.51


def test_more_heat_is_lighter_and_more_coloured():
    heat = np.tile(np.linspace(0, 1, 512, dtype=np.float32), (512, 1))

    picture = overlay_rgb(np.full((512, 512), -200.0), heat, STAGING, a_manifest())[CENTRE].astype(float)

    light = picture[50] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light) >= -1).all()
    assert light[-1] - light[0] > 30
    assert (picture[50, -1].max() - picture[50, -1].min()) > 40


def test_the_picture_is_the_same_twice():
    rng = np.random.default_rng(0)
    hu, heat = rng.normal(50, 100, (512, 512)), rng.random((512, 512), np.float32)

    one, two = (overlay_rgb(hu, heat, STAGING, a_manifest()) for _ in range(2))

    np.testing.assert_array_equal(one, two)


def test_heat_and_slice_must_be_the_same_pixels():
    with pytest.raises(ValueError, match=r"\(512, 512\).*\(224, 224\)"):
        overlay_rgb(np.zeros((512, 512)), np.zeros((224, 224)), STAGING, a_manifest())


def test_a_phase_that_is_known_by_words_alone_stands_on_the_picture(monkeypatch):
    flagged = attrs.evolve(STAGING, flags=(Flag.PHASE_FROM_WORDS,))

    written, _ = burned_in(monkeypatch, flagged, a_manifest())

    assert "phase known by the description alone" in written
