"""Room `stage`: prepared slices and a model artefact in; slice classes, vote, probabilities and features out."""
