"""The synthetic hospital: patients, EHR extracts, nights, months and years."""
