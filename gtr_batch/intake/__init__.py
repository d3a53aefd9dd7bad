"""Intake: which patients may be staged, and which series of a study is the portal venous one."""

from gtr_batch.domain.contrast import PhaseEvidence, phase_from_pixels
from gtr_batch.intake.candidates import candidates
from gtr_batch.intake.eligibility import judge_descriptions, judge_patient, judge_study
from gtr_batch.intake.evidence import Reason
from gtr_batch.intake.probe import Probe, probe_indices, read_probe
from gtr_batch.intake.select import Selection, select_portal_venous

__all__ = [
    "PhaseEvidence",
    "Probe",
    "Reason",
    "Selection",
    "candidates",
    "judge_descriptions",
    "judge_patient",
    "judge_study",
    "phase_from_pixels",
    "probe_indices",
    "read_probe",
    "select_portal_venous",
]
