-- A cohort's table of patients tells serum markers and PD-L1 too.
grant select on ehr_marker to gtr_governor;
