"""The RIS: results to it as HL7 v2.5.1 ORU^R01 by MLLP."""

from gtr_batch.ris.hl7 import result_message
from gtr_batch.ris.sender import RisReceiver

__all__ = ["RisReceiver", "result_message"]
