-- Keys that extracts brought with blanks round them, before a load trimmed them: the PACS's are trimmed, so they never met.
-- A key stays where the trimmed one has that row already, or is a patient of another sex or birth date.
do $$
declare
    blanks     text := E' \t\n\x0B\f\r';
    padded     record;
    twin       record;
    child      record;
    same       boolean;
    held       bigint;
    trimmed    bigint := 0;
    left_alone bigint := 0;
    rows_left  bigint := 0;
begin
    if getdatabaseencoding() = 'UTF8' then  -- no-break and other blanks of Unicode, and what has no width
        blanks := blanks || (
            select string_agg(chr(code), '')
            from unnest(array[
                133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202, 8203, 8232, 8233, 8239, 8287,
                8288, 12288, 65279
            ]) as code
        );
    end if;
    lock table ehr_patient, ehr_biopsy, ehr_tumour, ehr_marker, ehr_treatment, ehr_metastasis, ehr_surgery, ehr_read,
        ehr_key_slice in share row exclusive mode;

    for padded in
        select patient_id, sex, birth_date, loaded_at, btrim(patient_id, blanks) as key
        from ehr_patient
        where patient_id <> btrim(patient_id, blanks) and btrim(patient_id, blanks) <> ''
        order by ehr_patient.loaded_at desc, patient_id
    loop
        select sex, birth_date into twin from ehr_patient where patient_id = padded.key;
        if found then
            same := (twin.sex, twin.birth_date) = (padded.sex, padded.birth_date);
        else
            insert into ehr_patient (patient_id, sex, birth_date, loaded_at)
            values (padded.key, padded.sex, padded.birth_date, padded.loaded_at);
            same := true;
        end if;
        if same then
            for child in
                select *
                from (
                    values
                    ('ehr_biopsy', array['biopsy_date', 'site']),
                    ('ehr_tumour', array['measured_on']),
                    ('ehr_marker', array['sampled_on']),
                    ('ehr_treatment', array['kind', 'started_on']),
                    ('ehr_metastasis', array['assessed_on']),
                    ('ehr_surgery', array['operated_on']),
                    ('ehr_read', array['study_uid']),
                    ('ehr_key_slice', array['study_uid', 'accession_number'])
                ) as children (name, keys)
            loop
                execute format(
                    'update %1$I as old set patient_id = $2 where patient_id = $1 '
                    'and not exists (select from %1$I as new where new.patient_id = $2%2$s)',
                    child.name,
                    (select string_agg(format(' and new.%1$I = old.%1$I', name), '') from unnest(child.keys) as name)
                ) using padded.patient_id, padded.key;
            end loop;
        end if;
        select
            (select count(*) from ehr_biopsy where patient_id = padded.patient_id)
            + (select count(*) from ehr_tumour where patient_id = padded.patient_id)
            + (select count(*) from ehr_marker where patient_id = padded.patient_id)
            + (select count(*) from ehr_treatment where patient_id = padded.patient_id)
            + (select count(*) from ehr_metastasis where patient_id = padded.patient_id)
            + (select count(*) from ehr_surgery where patient_id = padded.patient_id)
            + (select count(*) from ehr_read where patient_id = padded.patient_id)
            + (select count(*) from ehr_key_slice where patient_id = padded.patient_id)
        into held;
        if same and held = 0 then
            delete from ehr_patient where patient_id = padded.patient_id;
            trimmed := trimmed + 1;
        else
            left_alone := left_alone + 1;
            rows_left := rows_left + held;
        end if;
    end loop;

    for padded in
        select patient_id, study_uid, accession_number, btrim(accession_number, blanks) as key
        from ehr_key_slice
        where accession_number <> btrim(accession_number, blanks) and btrim(accession_number, blanks) <> ''
        order by loaded_at desc
    loop
        perform from ehr_key_slice
        where patient_id = padded.patient_id and study_uid = padded.study_uid and accession_number = padded.key;
        if found then
            rows_left := rows_left + 1;
        else
            update ehr_key_slice set accession_number = padded.key
            where patient_id = padded.patient_id and study_uid = padded.study_uid
                and accession_number = padded.accession_number;
        end if;
    end loop;

    if trimmed + left_alone + rows_left > 0 then
        raise warning 'EHR keys with blanks round them: % patients trimmed, % left with % rows, since the trimmed key has these',
            trimmed, left_alone, rows_left;
    end if;
end
$$;
