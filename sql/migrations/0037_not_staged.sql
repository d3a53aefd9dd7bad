-- A case may be staged without a stage: the network has no business answering. Its slices' own answers stay, for those
-- who judge the model.
alter table staging_result
    alter column t_stage drop not null,
    alter column p_t1 drop not null,
    alter column p_t2 drop not null,
    alter column p_t3 drop not null,
    alter column p_t4 drop not null,
    add column not_staged          text,
    add column not_staged_sentence text,
    add column not_staged_numbers  jsonb,
    add check (num_nulls(t_stage, not_staged) = 1),
    add check (num_nulls(t_stage, p_t1, p_t2, p_t3, p_t4) in (0, 5)),
    add check (num_nulls(not_staged, not_staged_sentence, not_staged_numbers) in (0, 3));
comment on column staging_result.not_staged is
    'Why there is no stage: a code of gtr_batch/domain/abstention.py, with its sentence and numbers; null where there is one.';
