"""The PACS by DICOMweb (PS3.18): QIDO-RS, WADO-RS, STOW-RS, and read-back where DIMSE has storage commitment."""

from gtr_batch.dicomweb.archive import Dicomweb
from gtr_batch.dicomweb.directions import Directions

__all__ = ["Dicomweb", "Directions"]
