-- psycopg2 writes parameters into the text of a statement, so a server that logs failing or slow statements would log
-- PatientIDs. Every session of ours turns that off for itself, which takes a right that only a superuser grants. Where
-- who migrates is none, sql/README.md (Server log) says what an administrator runs; until then sessions are refused.
do $$
begin
    reset role;
    begin
        grant set on parameter
            log_min_error_statement, log_error_verbosity, log_statement, log_min_duration_statement,
            log_min_duration_sample, log_transaction_sample_rate, log_parameter_max_length
        to gtr_owner, gtr_app, gtr_governor, gtr_reader;
    exception when insufficient_privilege then
        null;
    end;
    set local role gtr_owner;
end
$$;
