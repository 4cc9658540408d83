-- Where models come from, and by what they were let live.

alter table imagehub.models add column provenance jsonb;
comment on column imagehub.models.provenance is 'onnx: IR version, producer, operator sets; file: path, host, size, time and SHA-256 of the file it was added from (null: it was made here).';

alter table imagehub.promotions add column gate jsonb;
comment on column imagehub.promotions.gate is 'The requirements that were met, with what was measured; null: there were none.';

-- A model that is being deleted gets no new predictions: who makes the partition and who deletes the model come one after
-- the other.
create or replace function imagehub.ensure_predictions(model bigint) returns void language plpgsql as $$
declare
  partition text := 'predictions_' || model;
  gone boolean;
begin
  if to_regclass(format('imagehub.%I', partition)) is not null then
    return;
  end if;
  -- Two may ask at once.
  perform pg_advisory_xact_lock(hashtext('imagehub.predictions'), model::int);
  -- Asked of the table itself: what to_regclass remembers from above is not yet known to be outdated.
  if exists (select from pg_catalog.pg_class c where c.relnamespace = 'imagehub'::regnamespace and c.relname = partition) then
    return;
  end if;
  select m.deleted_at is not null into gone from imagehub.models m where m.id = model for share;
  if gone then
    raise exception 'model % was deleted', model using errcode = '23503';
  end if;
  execute format('create table imagehub.%I (like imagehub.predictions including defaults including constraints)', partition);
  execute format('alter table imagehub.%I add primary key (model_id, id), alter column model_id set default %s', partition, model);
  execute format('alter table imagehub.%I add constraint of_model check (model_id = %s)', partition, model);
  execute format('alter table imagehub.predictions attach partition imagehub.%I for values in (%s)', partition, model);
  execute format('alter table imagehub.%I drop constraint of_model', partition);
end $$;
