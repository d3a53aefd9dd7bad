-- Which of the two answers of a case counted when it was scored: the network's, or the nomogram's.
alter table nomogram_result add column is_primary boolean not null default false;
comment on column nomogram_result.is_primary is
    'The site''s answer was the nomogram''s (setting report.primary); else it supports the network''s.';
