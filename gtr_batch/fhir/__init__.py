"""FHIR R4: results as a transaction Bundle, into a file or by POST to a server."""

from gtr_batch.fhir.resources import bundle_of
from gtr_batch.fhir.server import FhirServer

__all__ = ["FhirServer", "bundle_of"]
