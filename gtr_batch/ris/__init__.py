"""The RIS: results to it as HL7 v2.5.1 ORU^R01 by MLLP, and its word that patients were merged (ADT^A40)."""

from gtr_batch.ris.hl7 import result_message
from gtr_batch.ris.listener import MergeListener
from gtr_batch.ris.sender import RisReceiver

__all__ = ["MergeListener", "RisReceiver", "result_message"]
