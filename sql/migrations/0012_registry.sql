-- Where models come from, and by what they were let live.

alter table imagehub.models add column provenance jsonb;
comment on column imagehub.models.provenance is 'onnx: IR version, producer, operator sets; file: path, host, size, time and SHA-256 of the file it was added from (null: it was made here).';

alter table imagehub.promotions add column gate jsonb;
comment on column imagehub.promotions.gate is 'The requirements that were met, with what was measured; null: there were none.';

-- Who did it: the user named by the application, else the database user.
alter table imagehub.models alter column created_by set default imagehub.acting_user();
alter table imagehub.promotions alter column promoted_by set default imagehub.acting_user();
alter table imagehub.runs alter column started_by set default imagehub.acting_user();
