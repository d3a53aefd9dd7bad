"""The night: one function per DAG task, each safe to run twice.

The tasks hand on names only (study UIDs, case ids, shards of them). Arrays and DICOM lie in the file store, facts in
Postgres. Every step takes the cases of its shard that are in the state it needs, so it resumes where the last
run stopped.
"""

from gtr_batch.night.arriving import settles_at
from gtr_batch.night.canary import canary
from gtr_batch.night.close import ask_again, close_night, housekeeping
from gtr_batch.night.found import intake, query_pacs
from gtr_batch.night.shadow import shadow
from gtr_batch.night.site import Site, night_window
from gtr_batch.night.steps import deliver, nomogram, preprocess, report, retrieve, stage, validate

# The steps a shard goes through, in order.
SHARD_STEPS = (retrieve, validate, preprocess, stage, nomogram, report, deliver)

__all__ = [
    "SHARD_STEPS",
    "Site",
    "ask_again",
    "canary",
    "close_night",
    "deliver",
    "housekeeping",
    "intake",
    "night_window",
    "nomogram",
    "preprocess",
    "query_pacs",
    "report",
    "retrieve",
    "settles_at",
    "shadow",
    "stage",
    "validate",
]
