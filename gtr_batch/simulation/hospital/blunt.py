"""A model made worse on purpose: the same network with its last layer disturbed. For the demo and its tests alone."""

from __future__ import annotations

from pathlib import Path

import attrs


def blunted(artefact: Path, folder: Path, *, amount: float, name: str, seed: int = 0) -> str:
    """Write a copy of an artefact whose last layer was disturbed; returns its version.

    Features stay as they were, so rad-score, nomogram and locator mean the same; what suffers is the T stage.

    Parameters
    ----------
    artefact, folder : Path
        The original, and where the copy shall lie.
    amount : float
        Size of the normal noise on the last layer's weights, in their standard deviations.
    name : str
        What the copy calls itself.
    seed : int
        The same seed gives the same copy.
    """
    import torch

    from gtr_batch.stage import load_artefact, write_artefact

    found = load_artefact(artefact)
    weight = found.network.fc.weight
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weight += amount * weight.std() * noise.to(weight.device)
    return write_artefact(folder, found.network, attrs.evolve(found.manifest, name=name), torch.float16)
