-- The set of neighbouring stages that was reported beside the stage; null where the model has no threshold for one.
alter table staging_result
    add column set_lowest text check (set_lowest in ('T1', 'T2', 'T3', 'T4')),
    add column set_highest text check (set_highest in ('T1', 'T2', 'T3', 'T4')),
    add column set_coverage double precision check (set_coverage > 0 and set_coverage < 1),
    add constraint staging_result_set_check check (
        num_nulls(set_lowest, set_highest, set_coverage) in (0, 3) and set_lowest <= set_highest
    );
comment on column staging_result.set_coverage is
    'The share of patients whose true stage lies between set_lowest and set_highest, as it was promised.';
