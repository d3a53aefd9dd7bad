-- The case's page may go to the PACS as an encapsulated PDF too, where the site wants that.
alter table report_object drop constraint report_object_kind_check;
alter table report_object add constraint report_object_kind_check check (
    kind in ('structured_report', 'parametric_map', 'secondary_capture', 'key_objects', 'encapsulated_pdf', 'rejection')
);
