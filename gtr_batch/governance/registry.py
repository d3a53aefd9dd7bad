"""Into the registry: an artefact is checked, copied under its own version, and written down as a candidate.

The copy is what stages: ``<models>/<version>/`` is named by what lies in it, so nothing replaces it and a rollback
always finds it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gtr_batch.domain.canary import CanaryEvent
from gtr_batch.domain.gate import GateAnswer, GateVerdict
from gtr_batch.domain.lifecycle import CANDIDATE, CHAMPION, WITHDRAWN, Change, ModelRecord
from gtr_batch.domain.model_json import from_json
from gtr_batch.errors import GovernanceRefused, InputRefused, ModelArtefactError
from gtr_batch.logs import get_logger
from gtr_batch.night.canary import CANARY
from gtr_batch.ports import ModelRegistry
from gtr_batch.writing import READABLE, copy_file, make_folder

log = get_logger("governance")
Answer = TypeVar("Answer", GateAnswer, GateVerdict)
FILES = ("manifest.json", "weights.safetensors")


def register_artefact(
    registry: ModelRegistry,
    models: Path,
    folder: Path,
    *,
    by: str,
    why: str,
    cohort_digest: str | None = None,
    training: Mapping[str, Any] | None = None,
) -> str:
    """Check an artefact in every way, keep a copy of it and register it as a candidate.

    Parameters
    ----------
    registry : ModelRegistry
    models : Path
        The store, one folder a version (`training.models`).
    folder : Path
        The artefact; not changed and not needed afterwards.
    by, why : str
        Who answers for it, and the reason.
    cohort_digest, training : optional
        The frozen cohort that it was trained on, and the training report.

    Returns
    -------
    str
        The version. Registering the same artefact again changes nothing.

    Raises
    ------
    ModelArtefactError
        Digest, class order, contract, architecture or a number does not match; names the field.
    GovernanceRefused
        This version was withdrawn: it does not come back.
    """
    from gtr_batch.stage import verify

    answered_for(by, why)
    version = verify(folder)
    if registry.state(version) == WITHDRAWN:
        raise GovernanceRefused(f"model {version[:12]} was withdrawn; a withdrawn model is not registered again")
    kept, canary = keep(models, folder, version)
    manifest = json.loads((kept / "manifest.json").read_text(encoding="utf-8"))
    registry.register(
        version,
        manifest,
        kept,
        by=by,
        why=why,
        cohort_digest=cohort_digest,
        training=training,
        canary=canary,
    )
    log.info("model.registered", model_version=version, by=by)
    return version


def keep(models: Path, folder: Path, version: str) -> tuple[Path, CanaryEvent | None]:
    """Copy an artefact to ``<models>/<version>/``, all of it or nothing; one that is there already must be intact.

    Its canary comes with it, or is recorded here; None for one that was there already and was made without.
    """
    from gtr_batch.governance.canary import of_folder, with_canary

    kept = models / version
    if kept.is_dir():
        check_files(kept, version)
        return kept, of_folder(kept, version)
    make_folder(models, mode=0o755)  # there is no patient in it, and other accounts stage with it
    fresh = Path(tempfile.mkdtemp(prefix=f".{version[:12]}.", dir=models))
    try:
        for name in FILES:
            copy_file(folder / name, fresh / name, mode=READABLE)
        check_files(fresh, version)
        if (folder / CANARY).is_file():
            copy_file(folder / CANARY, fresh / CANARY, mode=READABLE)
        canary = with_canary(fresh, version)
        fresh.chmod(0o755)
        try:
            fresh.rename(kept)
        except OSError:  # another session has just put the same version there
            check_files(kept, version)
            canary = of_folder(kept, version) or canary
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return kept, canary


def check_files(folder: Path, version: str) -> None:
    """Load an artefact with every check and compare its version.

    Raises
    ------
    ModelArtefactError
        Gone, changed or not what its manifest says; names the field.
    """
    from gtr_batch.stage import verify

    if not folder.is_dir():
        raise ModelArtefactError(f"the files of model {version[:12]} are gone: no folder {folder}")
    found = verify(folder)
    if found != version:
        raise ModelArtefactError(
            f"{folder}: manifest.json is that of model {found[:12]}, not of {version[:12]}: changed after registration"
        )


def check_registered(registry: ModelRegistry, version: str) -> ModelRecord:
    """What the registry says of a version, its files checked; raises `InputRefused` or `ModelArtefactError`."""
    model = known(registry, version)
    check_files(model.folder, version)
    return model


def adopt(registry: ModelRegistry, models: Path, folder: Path, *, by: str, why: str) -> str:
    """Register the model that staged before there was a registry, and make it the first champion.

    The settings named it (`stage.artefact`), so a person chose it already; the registry only writes that down, and the
    first promotion has something to be compared with and rolled back to. Where there is, or ever was, a champion,
    adopting its very version changes nothing.

    Raises
    ------
    GovernanceRefused
        There is, or was, a champion: the way is promotion.
    """
    from gtr_batch.stage import read_version

    version = str(read_version(folder))
    if registry.champion() == version:
        return version
    champion_events = registry.champion_events()
    if champion_events:
        raise GovernanceRefused(
            f"there was a champion already ({champion_events[-1].version[:12]}); only the first one is adopted, "
            f"promote model {version[:12]} instead; nothing is changed"
        )
    register_artefact(registry, models, folder, by=by, why=why)
    registry.change([Change(version, "adopt", CANDIDATE, CHAMPION)], champion=None, by=by, why=why)
    return version


def find(registry: ModelRegistry, digits: str) -> str:
    """The one version that begins with these digits.

    Raises
    ------
    InputRefused
        None, or more than one.
    """
    found = [m.version for m in registry.all() if m.version.startswith(digits.lower())] if digits else []
    if len(found) != 1:
        names = ", ".join(v[:12] for v in found) or "none"
        raise InputRefused(f"model {digits!r}: {len(found)} registered versions begin so ({names}); one is wanted")
    return found[0]


def known(registry: ModelRegistry, version: str) -> ModelRecord:
    """What the registry says of a version; `InputRefused` where it has never heard of it."""
    try:
        return registry.model(version)
    except KeyError:
        raise InputRefused(f"model {version[:12]} is not registered; `gtr model list` shows those that are") from None


def gate_answer(registry: ModelRegistry, version: str) -> GateAnswer | None:
    """What the gate said last of a version, in short; None where it was never asked."""
    return _gate(registry, version, GateAnswer)


def gate_verdict(registry: ModelRegistry, version: str) -> GateVerdict | None:
    """What the gate said last of a version, in full; None where it was never asked."""
    return _gate(registry, version, GateVerdict)


def _gate(registry: ModelRegistry, version: str, kind: type[Answer]) -> Answer | None:
    document = registry.document(version, "gate")
    if document is None:
        return None
    try:
        return from_json(document, kind)
    except (KeyError, TypeError, ValueError) as err:
        raise GovernanceRefused(
            f"the verdict that is kept of model {version[:12]} cannot be read ({type(err).__name__}: {err}): "
            f"`gtr model judge` asks the gate again"
        ) from err


def answered_for(by: str, why: str) -> None:
    """Refuse what nobody answers for."""
    for name, text, longest in (("by", by, 200), ("why", why, 2000)):
        if not text.strip():
            raise InputRefused(f"{name} is empty: every such change says who made it and why")
        if len(text.strip()) > longest:
            raise InputRefused(f"{name} has {len(text.strip())} characters, at most {longest} are kept")
