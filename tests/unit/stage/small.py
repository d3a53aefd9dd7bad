"""A small model for tests: ResNet-10, 64 x 64 inputs."""

import attrs
import torch

from gtr_batch.domain.calibration import stage_priors
from gtr_batch.domain.model import KeySliceLocator, ModelManifest, NomogramModel, PreprocessingContract, RadScoreModel

SIZE = 64  # network input of these tests: small


def small_manifest(**changes) -> ModelManifest:
    return attrs.evolve(
        ModelManifest(
            name="test",
            architecture="gtrnet",
            backbone="resnet10",
            feature_count=512,
            weights_sha256="",
            contract=PreprocessingContract(size=SIZE),
            temperature=1.5,
            priors=stage_priors([0.25] * 4, [20] * 4),
            rad_score=RadScoreModel((3, 7), (0.1, 0.2), (1.0, 2.0), (0.5, -0.5)),
            nomogram=NomogramModel(
                name="test",
                rad_score=0.9,
                tumour_size=0.5,
                size_at_least_cm=5.0,
                differentiation={"well": 0.0, "moderate": 0.2, "poor": 1.0},
                lauren={"intestinal": 0.0, "diffuse": 1.0, "mixed": 0.1},
                thresholds=(-3.0, -1.0, 1.0),
            ),
        ),
        **changes,
    )


def small_locator(seed: int = 0) -> KeySliceLocator:
    g = torch.Generator().manual_seed(seed)
    return KeySliceLocator(
        tuple(torch.rand(512, generator=g).tolist()),
        tuple((torch.rand(512, generator=g) + 0.5).tolist()),
        tuple((torch.randn(512, generator=g) / 20).tolist()),
        intercept=-2.0,
    )
