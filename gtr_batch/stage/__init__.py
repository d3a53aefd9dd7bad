"""Step `stage`: prepared slices and a model artefact in; slice classes, vote, probabilities and features out."""

from gtr_batch.stage.artefact import Artefact, load_artefact, read_manifest, read_version, verify, write_artefact
from gtr_batch.stage.predict import AbstainAt, StagedCase, choose_device, find_location, slice_scores, stage_shard

__all__ = [
    "AbstainAt",
    "Artefact",
    "StagedCase",
    "choose_device",
    "find_location",
    "load_artefact",
    "read_manifest",
    "read_version",
    "slice_scores",
    "stage_shard",
    "verify",
    "write_artefact",
]
