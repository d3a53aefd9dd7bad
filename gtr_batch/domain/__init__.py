"""Frozen values and arithmetic. No files, network, clock, torch or pydicom in here."""
