"""Validation: is the series on disk whole, portal venous, in Hounsfield units, and as the network expects it?"""

from gtr_batch.validate.verdict import CaseFiles, Verdict, validate_shard

__all__ = ["CaseFiles", "Verdict", "validate_shard"]
