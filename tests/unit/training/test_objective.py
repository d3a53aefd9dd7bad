"""The price of evidence that does not lie on the outlined lesion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from gtr_batch.stage.network import GTRNet
from gtr_batch.training.loop import Answered, PreparedSlices, Settings, train
from gtr_batch.training.objective import on_the_lesion

STRIDE, ROWS = 8, 6
STAGE = 2
HEAD = torch.eye(4)  # a feature a class


def seen(evidence: torch.Tensor, lesion: torch.Tensor | None) -> Answered:
    """One slice; `evidence` (rows, columns) speaks for the true class."""
    cells = torch.zeros(1, 4, ROWS, ROWS)
    cells[0, STAGE] = evidence
    return Answered(torch.zeros(1, 4), torch.tensor([STAGE]), cells, HEAD, None if lesion is None else lesion[None])


def a_lesion(row: int, column: int) -> torch.Tensor:
    """Of 5 x 5 pixels about one: no other cell has a share of it."""
    lesion = torch.zeros(1, STRIDE * ROWS, STRIDE * ROWS)
    lesion[0, max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = 1
    return lesion


def evidence_at(*cells: tuple[int, int], elsewhere: float = -20.0) -> torch.Tensor:
    evidence = torch.full((ROWS, ROWS), elsewhere)
    for row, column in cells:
        evidence[row, column] = 20.0
    return evidence


def price(evidence: torch.Tensor, lesion: torch.Tensor | None, weight: float = 1.0) -> float:
    answer = seen(evidence, lesion)
    return float(on_the_lesion(STRIDE, weight)(answer) - functional.cross_entropy(answer.logits, answer.stages))


def test_evidence_on_the_lesion_costs_less_than_beside_it_and_everywhere():
    lesion = a_lesion(2 * STRIDE, 3 * STRIDE)

    on, beside = price(evidence_at((2, 3)), lesion), price(evidence_at((2, 5)), lesion)
    everywhere = price(torch.zeros(ROWS, ROWS), lesion)

    assert 0 <= on < everywhere < beside
    assert price(evidence_at((2, 5)), lesion, weight=0.3) == pytest.approx(0.3 * beside, rel=1e-4)


@pytest.mark.parametrize("cell", [(0, 0), (2, 3), (5, 1)])
def test_a_cell_is_centred_on_its_strides_multiple(cell):
    """Of all cells the cheapest for a lesion about pixel stride i is cell i."""
    lesion = a_lesion(STRIDE * cell[0], STRIDE * cell[1])
    prices = {(r, c): price(evidence_at((r, c)), lesion) for r in range(ROWS) for c in range(ROWS)}

    assert min(prices, key=prices.get) == cell


def test_a_map_of_the_lesions_own_shape_costs_nothing():
    lesion = a_lesion(2 * STRIDE, 3 * STRIDE)
    covered = functional.avg_pool2d(lesion[None], STRIDE + 1, STRIDE, STRIDE // 2)[0, 0]
    wanted = 50 * (covered + 1e-6).sqrt()

    assert price(torch.log(torch.expm1(wanted)), lesion) == pytest.approx(0.0, abs=0.02)


def test_where_nothing_is_outlined_it_is_the_cross_entropy():
    nothing = torch.zeros(1, STRIDE * ROWS, STRIDE * ROWS)

    assert price(evidence_at((2, 3)), None) == 0
    assert price(evidence_at((2, 3)), nothing) == 0


def test_slices_without_a_lesion_neither_cost_nor_dilute():
    one = seen(evidence_at((2, 5)), a_lesion(2 * STRIDE, 3 * STRIDE))
    nothing = torch.zeros_like(one.lesions)
    both = Answered(
        one.logits.repeat(2, 1), one.stages.repeat(2), one.cells.repeat(2, 1, 1, 1), HEAD,
        torch.cat((one.lesions, nothing)),
    )  # fmt: skip

    objective = on_the_lesion(STRIDE)

    assert float(objective(both)) == pytest.approx(float(objective(one)))


def test_a_map_that_says_nothing_has_a_finite_gradient_towards_the_lesion():
    answer = seen(torch.zeros(ROWS, ROWS), a_lesion(2 * STRIDE, 3 * STRIDE))
    for level in (0.0, -200.0):
        cells = torch.full((1, 4, ROWS, ROWS), level, requires_grad=True)
        loss = on_the_lesion(STRIDE)(Answered(answer.logits, answer.stages, cells, HEAD, answer.lesions))
        loss.backward()

        assert torch.isfinite(loss)
        assert torch.isfinite(cells.grad).all()
        if level == 0:  # a step downhill raises the map on the lesion, and lowers it beside
            assert cells.grad[0, STAGE, 2, 3] < 0 < cells.grad[0, STAGE, 5, 5]


def test_a_training_with_it_moves_the_map_towards_the_lesion():
    """Slices of noise with one bright square each: after a few steps more of the true class's map lies on it."""
    rng = np.random.default_rng(3)
    slices, lesions = rng.normal(size=(8, 3, 64, 64)).astype(np.float32), np.zeros((8, 3, 64, 64), bool)
    lesions[..., 24:41, 24:41] = True
    slices[lesions] += 4
    cohort = PreparedSlices(slices, np.arange(8) % 4, None, lesions)

    def divergence(network: GTRNet) -> float:
        network.eval()
        kept: list[torch.Tensor] = []
        hook = network.layer4.register_forward_hook(lambda _m, _i, output: kept.append(output))
        with torch.no_grad():
            logits = network(torch.from_numpy(slices[:, 1])[:, None].expand(-1, 3, -1, -1))
        hook.remove()
        stages, masks = torch.from_numpy(cohort.stages).long(), torch.from_numpy(lesions[:, 1:2]).float()
        answer = Answered(logits, stages, kept[0], network.fc.weight.detach(), masks)
        return float(on_the_lesion(8, 1.0)(answer) - functional.cross_entropy(logits, stages))

    torch.manual_seed(0)
    network = GTRNet("resnet10-stride8", dropout=0.0)
    before = divergence(network)
    settings = Settings(epochs=6, batch=8, learning_rate=1e-3, patience=20)
    train(network, cohort, cohort, settings, objective=on_the_lesion(8, 1.0))

    assert divergence(network) < 0.8 * before
