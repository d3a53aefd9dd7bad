import attrs
import numpy as np
import pytest
import torch

from gtr_batch.domain.abstention import AbstentionCode, AbstentionRule, FeatureReference
from gtr_batch.domain.calibration import calibrated, stage_priors
from gtr_batch.domain.prepared import PreparedGeometry
from gtr_batch.domain.staging import Flag, KeySliceSource, TStage
from gtr_batch.errors import CaseRejected, ConfigError, GpuOutOfMemory, ModelArtefactError
from gtr_batch.stage.artefact import Artefact
from gtr_batch.stage.predict import AbstainAt, choose_device, find_location, slice_scores, stage_shard
from tests.unit.stage.small import SIZE, small_locator, small_manifest


def geometry(name: str = "c", source: KeySliceSource = KeySliceSource.EHR) -> PreparedGeometry:
    uids = tuple(f"2.25.{abs(hash(name)) % 1000}.{k}" for k in range(3))
    return PreparedGeometry(512, 512, 0.0, 2.0, 0.0, 2.0, SIZE, uids, (0.0, 5.0, 10.0), source)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, SIZE, SIZE)).astype(np.float32)


class Says:
    """A forward pass that answers the logits it was given, and remembers how it was called."""

    def __init__(self, logits, fits: int = 10**6):
        self.logits = np.asarray(logits, dtype=np.float32).reshape(-1, 4)
        self.fits, self.done, self.sizes, self.chosen = fits, 0, [], []

    def __call__(self, slices, choose):
        self.sizes.append(len(slices))
        if len(slices) > self.fits:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        logits = self.logits[self.done : self.done + len(slices)]
        self.done += len(slices)
        self.chosen += list(choose(logits))
        return np.ones((len(slices), 2), np.float32), logits, None


def stage_one(artefact, logits, source=KeySliceSource.EHR, **changes):
    changed = Artefact(small_manifest(**changes), artefact.network, artefact.version, artefact.folder)
    return stage_shard(changed, {"c": noise(0)}, {"c": geometry("c", source)}, forward=Says(logits))["c"].staging


def test_the_majority_of_three_slices_decides_and_probabilities_are_the_calibrated_mean(artefact):
    logits = [[0, 3, 0, 0], [0, 3, 1, 0], [0, 0, 0, 9]]

    staging = stage_one(artefact, logits, temperature=2.0)

    assert staging.t_stage is TStage.T2
    assert [s.t_stage for s in staging.slices] == [TStage.T2, TStage.T2, TStage.T4]
    assert [s.role for s in staging.slices] == ["below", "key", "above"]
    assert tuple(s.sop_instance_uid for s in staging.slices) == geometry("c").sop_instance_uids
    expected = torch.softmax(torch.tensor(logits, dtype=torch.float64) / 2.0, dim=1).mean(dim=0)
    np.testing.assert_allclose(staging.probabilities.values, expected, atol=1e-12)
    assert staging.model_version == artefact.version


def test_a_three_way_tie_goes_to_the_largest_sum_and_is_flagged(artefact):
    staging = stage_one(artefact, [[4, 0, 0, 0], [0, 0, 6, 0], [0, 0, 0, 5]])

    assert staging.t_stage is TStage.T3
    assert Flag.TIE in staging.flags


def test_a_vote_against_the_mean_is_flagged(artefact):
    staging = stage_one(artefact, [[1, 0.9, 0, 0], [1, 0.9, 0, 0], [0, 9, 0, 0]], temperature=1.0)

    assert staging.t_stage is TStage.T1
    assert staging.flags == (Flag.VOTE_MEAN_DISAGREE,)


def test_an_automatic_key_slice_and_a_demo_model_are_flagged(artefact):
    clear = [[0, 3, 0, 0]] * 3

    assert stage_one(artefact, clear).flags == ()
    assert stage_one(artefact, clear, KeySliceSource.AUTOMATIC).flags == (Flag.AUTOMATIC_KEY_SLICE,)
    assert stage_one(artefact, clear, demo=True).flags == (Flag.DEMO_MODEL,)


def test_the_prior_of_training_is_taken_out_and_the_cohorts_put_in(artefact):
    priors = stage_priors([0.1, 0.2, 0.3, 0.4], [50, 30, 15, 5])
    logits = torch.tensor([[0.0, 3, 0, 0], [0, 3, 1, 0], [0, 0, 0, 9]], dtype=torch.float64)

    staging = stage_one(artefact, logits, temperature=2.0, priors=priors)

    likelihood = (logits - torch.tensor(priors.training, dtype=torch.float64).log()) / 2.0
    expected = torch.softmax(likelihood + torch.tensor(priors.cohort, dtype=torch.float64).log(), dim=1)
    np.testing.assert_allclose(staging.probabilities.values, expected.mean(dim=0), atol=1e-12)
    np.testing.assert_allclose([s.probabilities.values for s in staging.slices], expected, atol=1e-12)


def test_vote_and_heat_map_follow_the_corrected_probabilities(artefact):
    priors = stage_priors([0.25] * 4, [900, 10, 10, 80])
    says = Says([[1.0, 1.5, 0, 0]] * 3)
    changed = Artefact(small_manifest(priors=priors), artefact.network, artefact.version, artefact.folder)

    staged = stage_shard(changed, {"c": noise(0)}, {"c": geometry("c")}, forward=says)["c"]

    assert staged.staging.t_stage is TStage.T1
    assert says.chosen == [TStage.T1.position] * 3


def test_a_model_whose_priors_are_not_known_is_flagged(artefact):
    assert stage_one(artefact, [[0, 3, 0, 0]] * 3, priors=None).flags == (Flag.NOT_CALIBRATED,)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7, 5.0])
def test_temperature_changes_no_slices_class(temperature: float):
    logits = np.random.default_rng(3).normal(size=(50, 4)) * 5

    p = calibrated(logits, temperature)

    assert (p.argmax(axis=1) == logits.argmax(axis=1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_the_forward_pass_is_told_the_class_of_the_case_for_each_of_its_slices(artefact):
    forward = Says([[[0, 3, 0, 0], [0, 3, 0, 0], [9, 0, 0, 0]], [[0, 0, 0, 3]] * 3])

    stage_shard(artefact, {"a": noise(1), "b": noise(2)}, {"a": geometry("a"), "b": geometry("b")}, forward=forward)

    assert forward.chosen == [1, 1, 1, 3, 3, 3]


def test_a_case_whose_output_is_not_finite_is_rejected_and_the_others_are_staged(artefact):
    inputs = {name: noise(k) for k, name in enumerate("abc")}
    alone = stage_shard(artefact, {"c": inputs["c"]}, {"c": geometry("c")})["c"]
    inputs["b"][1, 5, 5] = np.nan

    answers = stage_shard(artefact, inputs, {name: geometry(name) for name in "abc"})

    assert list(answers) == ["a", "b", "c"]
    assert isinstance(answers["b"], CaseRejected)
    assert answers["b"].code == "non_finite_output"
    assert answers["b"].numbers == {"logits": 4, "features": 512}
    assert answers["c"].staging.t_stage is alone.staging.t_stage
    np.testing.assert_allclose(answers["c"].logits, alone.logits, atol=1e-5)


def test_the_answer_does_not_depend_on_the_batch_size_and_is_the_same_twice(artefact):
    inputs = {str(k): noise(k) for k in range(5)}
    where = {name: geometry(name) for name in inputs}

    one, two, all_at_once, again = (stage_shard(artefact, inputs, where, batch_cases=n) for n in (1, 2, 16, 16))

    for name in inputs:
        np.testing.assert_allclose(one[name].logits, all_at_once[name].logits, atol=1e-5)
        np.testing.assert_allclose(two[name].features, all_at_once[name].features, atol=1e-5)
        np.testing.assert_array_equal(again[name].logits, all_at_once[name].logits)
        assert again[name].features.shape == (3, 512)
        assert again[name].features.dtype == again[name].logits.dtype == np.float32


def test_a_batch_that_does_not_fit_the_gpu_is_halved_and_no_case_is_lost(artefact):
    names = [str(k) for k in range(7)]
    stages = [0, 1, 2, 3, 0, 1, 2]
    forward = Says([[np.eye(4)[s] * 5] * 3 for s in stages], fits=6)

    answers = stage_shard(
        artefact, {n: noise(0) for n in names}, {n: geometry(n) for n in names}, forward=forward, batch_cases=7
    )

    assert forward.sizes == [21, 9, 3, 3, 3, 3, 3, 3, 3]
    assert [answers[n].staging.t_stage.position for n in names] == stages


def test_one_case_that_does_not_fit_the_gpu_may_be_tried_later(artefact):
    with pytest.raises(GpuOutOfMemory, match="3 slices do not fit"):
        stage_shard(artefact, {"c": noise(0)}, {"c": geometry("c")}, forward=Says([[0] * 4] * 3, fits=2))


def test_an_input_of_another_shape_is_our_mistake_and_names_the_case(artefact):
    with pytest.raises(ValueError, match=r"case c: input of shape \(3, 32, 32\)"):
        stage_shard(artefact, {"c": noise(0)[:, :32, :32]}, {"c": geometry("c")})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_asked_for_and_absent_is_a_config_error():
    with pytest.raises(ConfigError, match=r"'cuda'.*sees 0 GPU"):
        choose_device("cuda")

    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize("setting", ["gpu", "", "cpu:0", "cuda:x", "cuda:99"])
def test_an_unknown_device_is_a_config_error(setting: str):
    with pytest.raises(ConfigError, match=r"stage\.device is"):
        choose_device(setting)


def test_slice_scores_are_the_locators_log_odds_of_each_slice(artefact):
    slices, locator = np.concatenate([noise(1), noise(2)])[:5], small_locator()

    scores = slice_scores(artefact, slices, batch=2)

    with torch.inference_mode():
        features = artefact.network.forward_features(torch.from_numpy(slices)[:, None].repeat(1, 3, 1, 1)).numpy()
    z = (features.astype(float) - locator.feature_mean) / locator.feature_scale
    np.testing.assert_allclose(scores, z @ np.array(locator.coefficients) - 2.0, atol=1e-4)
    assert scores.shape == (5,)


def test_a_slice_that_cannot_be_scored_is_never_the_key_slice(artefact):
    slices = noise(1)
    slices[1] = np.inf

    scores = slice_scores(artefact, slices)

    assert scores[1] == -np.inf
    assert np.isfinite(scores[[0, 2]]).all()


def test_the_locator_gives_the_stage_that_each_slice_near_its_choice_would_be_given(artefact):
    slices = np.concatenate([noise(k) for k in range(4)])

    found = find_location(artefact, slices, 5.0 * np.arange(12.0), batch=5)

    near = range(max(found.index - 2, 0), min(found.index + 2, 11) + 1)
    staged = [
        stage_shard(artefact, {"c": slices[[max(k - 1, 0), k, min(k + 1, 11)]]}, {"c": geometry("c")})["c"].staging
        for k in near
    ]
    assert found.nearby == tuple(s.t_stage for s in staged)


def test_a_stage_that_changes_near_an_automatic_key_slice_is_flagged(artefact):
    stage = stage_shard(artefact, {"c": noise(0)}, {"c": geometry("c")})["c"].staging.t_stage
    others = next(s for s in TStage if s is not stage)

    flags = [
        stage_shard(artefact, {"c": noise(0)}, {"c": attrs.evolve(geometry("c"), nearby=nearby)})["c"].staging.flags
        for nearby in ((stage,) * 5, (stage, others, stage, stage, stage), ())
    ]

    assert [Flag.STAGE_VARIES in f for f in flags] == [False, True, False]


def test_a_model_without_locator_says_so(artefact):
    without = Artefact(small_manifest(), artefact.network, artefact.version, artefact.folder)

    with pytest.raises(ModelArtefactError, match="key_slice_locator is absent"):
        slice_scores(without, noise(1))


def test_the_repr_of_an_answer_holds_no_pixels_and_no_features(artefact):
    answer = stage_shard(artefact, {"c": noise(0)}, {"c": geometry("c")})["c"]

    assert "array" not in repr(answer)


def near(place: float) -> AbstentionRule:
    """Patients whose features (two of them) lie about this place, and whose series score 0 to 98."""
    reference = FeatureReference((place,) * 2, (1.0,) * 2, ((1.0, 0.0),), 1.0, tuple(np.linspace(0, 2, 99)))
    return AbstentionRule(reference, tuple(range(99)))


def stage_abstaining(artefact, rule, abstain, logits=((0, 3, 0, 0), (0, 3, 1, 0), (0, 0, 0, 9))):
    changed = Artefact(small_manifest(abstention=rule), artefact.network, artefact.version, artefact.folder)
    return stage_shard(changed, {"c": noise(0)}, {"c": geometry()}, forward=Says(logits), abstain=abstain)["c"]


def test_a_case_unlike_the_model_s_patients_gets_no_stage_and_keeps_its_slices(artefact):
    answer = stage_abstaining(artefact, near(50.0), AbstainAt(0.01))

    staging = answer.staging
    assert staging.t_stage is None
    assert staging.probabilities is None
    assert staging.abstention.code is AbstentionCode.UNLIKE_REFERENCE
    assert [s.role for s in staging.slices] == ["below", "key", "above"]
    assert staging.flags == ()  # a tie of votes that count for nothing is none
    assert answer.evidence.p_distance == pytest.approx(0.01)


def test_a_case_like_the_model_s_patients_gets_its_stage_and_its_p(artefact):
    answer = stage_abstaining(artefact, near(1.0), AbstainAt(0.01, {"c": 50.0}))

    assert answer.staging.t_stage is TStage.T2
    assert answer.staging.abstention is None
    assert answer.evidence.p_distance == 1.0
    assert answer.evidence.p_tumour_sign == pytest.approx(0.52)


def test_a_series_without_a_sign_of_a_tumour_gets_no_stage(artefact):
    staging = stage_abstaining(artefact, near(1.0), AbstainAt(0.01, {"c": -7.0})).staging

    assert staging.t_stage is None
    assert staging.abstention.code is AbstentionCode.NO_TUMOUR_SIGN


@pytest.mark.parametrize(("rule", "level"), [(None, 0.5), (near(50.0), 0.0)])
def test_without_a_reference_or_a_level_every_case_gets_a_stage(artefact, rule, level):
    assert stage_abstaining(artefact, rule, AbstainAt(level, {"c": -7.0})).staging.t_stage is TStage.T2
