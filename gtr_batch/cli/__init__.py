"""The `gtr` command.

Exit codes: 0 done and green; 1 done, but cases failed or a check is red; 2 the command line is wrong;
3 a setting, file or model must be mended first; 4 something did not answer and may later.
"""

from gtr_batch.cli.main import app

__all__ = ["app"]
