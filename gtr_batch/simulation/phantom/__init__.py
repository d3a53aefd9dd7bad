"""Abdomens in HU whose depth of invasion is the T stage, and their DICOM series."""
