"""Gastric cancer T staging, every night, from PACS to PACS.

The path, and the nine words that everything is named after::

    pacs -> intake -> validate -> preprocess -> stage -> explain -> nomogram -> report -> deliver
"""

__version__ = "0.1.0"
