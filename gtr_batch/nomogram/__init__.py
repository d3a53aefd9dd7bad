"""Room `nomogram`: rad-score and EHR covariates in; points and P(T1..T4) out."""
