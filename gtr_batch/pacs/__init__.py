"""The PACS adapter: C-ECHO, C-FIND, C-GET, C-MOVE to our own Storage SCP, C-STORE, storage commitment."""

from gtr_batch.pacs.archive import Pacs

__all__ = ["Pacs"]
