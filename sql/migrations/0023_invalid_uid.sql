-- The refusal code `unlawful_uid` is `invalid_uid` now: a code has one name, in old nights as in new ones.
update staging_case set refusal_code = 'invalid_uid' where refusal_code = 'unlawful_uid';
update case_event set detail = jsonb_set(detail, '{code}', '"invalid_uid"')
where state = 'refused' and detail ->> 'code' = 'unlawful_uid';
