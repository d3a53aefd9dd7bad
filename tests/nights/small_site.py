"""A site without PACS, database and model: for what intake decides, with a clock that a test sets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import numpy as np
from pydicom import Dataset

from gtr_batch.config import Config, FilesConfig, IntakeConfig, NightConfig, PacsConfig
from gtr_batch.domain.clinical import PatientFacts
from gtr_batch.files import LocalFileStore
from gtr_batch.night.absent import NoHold, NoSettingsHistory, NoShadows
from gtr_batch.night.memory import MemoryCases, MemoryDeliveries, MemoryNights, MemoryStudyLooks
from gtr_batch.night.site import Site
from gtr_batch.pacs import Pacs
from tests.archive_of_files import ArchiveOfFiles
from tests.phantoms import ct_dataset

MODEL = "3f" * 32
ELIGIBLE = PatientFacts("PHANTOM", gastric_adenocarcinoma=True, distant_metastasis=False)


class SetClock:
    """Port `Clock` that stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at

    def minutes_later(self, minutes: float) -> None:
        self.at += timedelta(minutes=minutes)


def slices(name: str, numbers: range, **elements: str) -> list[Dataset]:
    """CT instances of the one series of a study, without anything to see; `elements` by DICOM keyword."""
    found = [ct_dataset(k, np.zeros((16, 16)), name=name, thickness_mm=5.0) for k in numbers]
    for ds in found:
        ds.PatientID, ds.AccessionNumber = f"PHANTOM-{name}", f"ACC-{name}"
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
    return found


class Patients(dict):
    """`ClinicalSource` over facts by PatientID, said to hold on every date."""

    def facts(self, patient_id, study_uid, on):
        return self.get(patient_id)

    def known(self, patient_ids):
        return frozenset(patient_ids) & self.keys()


class Models:
    """`ModelStore` of one model that nobody loads."""

    def find(self, version: str) -> Path | None:
        return Path("model")


def small_site_at(tmp_path: Path, port: int, pacs: Mapping[str, object] | None = None, **night: object) -> Site:
    """`small_site` with a PACS that answers at a port of this machine; `pacs` are settings of that section."""
    made = small_site(tmp_path, **night)
    settings = PacsConfig(port=port, connect_timeout_s=10, acse_timeout_s=20, dimse_timeout_s=20, **(pacs or {}))
    made = attrs.evolve(made, config=attrs.evolve(made.config, pacs=settings), archive=Pacs(settings))
    made.__dict__["model_version"] = MODEL
    return made


def small_site(tmp_path: Path, **night: object) -> Site:
    """The site; `night` are settings of the section."""
    files = FilesConfig(root=tmp_path / "store", min_free_gb=0.01)
    config = Config(files=files, intake=IntakeConfig(probes=2), night=NightConfig(**night))
    site = Site(
        config=config,
        archive=ArchiveOfFiles(),
        nights=MemoryNights(),
        cases=MemoryCases(),
        deliveries=MemoryDeliveries(),
        clinical=Patients(),
        files=LocalFileStore(tmp_path / "store"),
        model_store=Models(),
        clock=SetClock(),
        settings_history=NoSettingsHistory(),
        shadows=NoShadows(),
        hold=NoHold(),
        looks=MemoryStudyLooks(),
    )
    site.__dict__["model_version"] = MODEL
    return site
