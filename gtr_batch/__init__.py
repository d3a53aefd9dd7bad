"""Gastric cancer T staging, every night, from PACS to PACS.

The path, and the nine words that everything is named after::

    pacs -> intake -> validate -> preprocess -> stage -> explain -> nomogram -> report -> deliver
"""

from gtr_batch.quoted_values import keep_out_of_logs

__version__ = "0.1.0"

keep_out_of_logs()
