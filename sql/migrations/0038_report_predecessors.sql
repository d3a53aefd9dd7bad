alter table report_object add column predecessors jsonb not null default '[]';
comment on column report_object.predecessors is
    'The reports that this one replaces, as it names them (Predecessor Documents Sequence): sop_class_uid, '
    'sop_instance_uid, series_uid. With them a file that was lost is written again as the same instance.';
