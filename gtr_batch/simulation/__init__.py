"""The synthetic hospital: abdomens with a stomach and a known T stage, their DICOM, their EHR. No patient, ever."""
