-- What a model did on another hospital's patients is a document of the model.
alter table model_document drop constraint model_document_kind_check;
alter table model_document add constraint model_document_kind_check
    check (kind in ('training_report', 'gate', 'model_card', 'approval', 'external'));
comment on table model_document is
    'What was said of a model: training report, gate verdict, model card, approval, external evaluations; append-only, '
    'the newest of a kind holds. No PHI. Written by retraining, gtr model and gtr evaluate.';
