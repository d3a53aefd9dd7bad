-- `invalid_uid` also where it stands beside the code that named the refusal: in the refusal's numbers, under `also`.
update staging_case
set refusal_numbers = jsonb_set(
    refusal_numbers,
    '{also}',
    (
        select jsonb_agg(case when code = '"unlawful_uid"' then '"invalid_uid"'::jsonb else code end order by place)
        from jsonb_array_elements(refusal_numbers -> 'also') with ordinality as other (code, place)
    )
)
where refusal_numbers -> 'also' ? 'unlawful_uid';

update case_event
set detail = jsonb_set(
    detail,
    '{numbers,also}',
    (
        select jsonb_agg(case when code = '"unlawful_uid"' then '"invalid_uid"'::jsonb else code end order by place)
        from jsonb_array_elements(detail #> '{numbers,also}') with ordinality as other (code, place)
    )
)
where state = 'refused' and detail #> '{numbers,also}' ? 'unlawful_uid';
