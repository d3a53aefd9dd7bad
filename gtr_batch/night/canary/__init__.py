"""The canary: before patients, a phantom series of the model goes through the same steps and must give its answer."""

from gtr_batch.night.canary.file import CANARY, read_canary
from gtr_batch.night.canary.gate import canary, check, require

__all__ = ["CANARY", "canary", "check", "read_canary", "require"]
