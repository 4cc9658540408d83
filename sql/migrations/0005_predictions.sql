-- What models say that are not live, or were when they said it: a candidate beside the live model (shadow), a model applied
-- to stored images (predict), and predictions that a reclassification replaced (superseded). Never shown as the prediction.
-- A partition per model, named predictions_<model>, so that deleting a model is instant.
create table imagehub.predictions (
  model_id     bigint not null,
  id           text not null,
  -- The bytes it is about, as in images; null in datasets with classic columns, which keep no hash.
  sha256       bytea,
  prediction   int not null,
  confidence   real,
  scores       real[],
  error        text,
  predicted_at timestamptz not null default now(),
  source       text not null check (source in ('shadow', 'predict', 'superseded')),
  primary key (model_id, id)
) partition by list (model_id);

comment on table imagehub.predictions is 'The newest prediction of every image by models other than the live one. It counts while images.sha256 is not distinct from predictions.sha256.';
comment on column imagehub.predictions.model_id is 'The model, which belongs to one dataset.';
comment on column imagehub.predictions.prediction is 'Class index; -1: the model failed on it, see error.';
comment on column imagehub.predictions.source is 'shadow: as the image was ingested; predict: asked for; superseded: it was the live prediction until a reclassification.';

-- Makes the model's partition if it is not there. Attaching a table waits for nobody who reads or writes predictions. A model
-- that is being deleted gets none: who makes the partition and who deletes the model come one after the other.
create function imagehub.ensure_predictions(model bigint) returns void language plpgsql as $$
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

create function imagehub.drop_predictions(model bigint) returns void language plpgsql as $$
begin
  execute format('drop table if exists imagehub.%I', 'predictions_' || model);
end $$;

-- A deleted model keeps its row: who made it and when, for the predictions and promotions that name it.
alter table imagehub.models
  alter column onnx drop not null,
  add column deleted_at timestamptz,
  add column deleted_by text,
  add check ((onnx is null) = (deleted_at is not null));

-- The candidate that predicts every new image beside the live model.
alter table imagehub.datasets add column shadow_model_id bigint references imagehub.models;
drop trigger notify on imagehub.datasets;
create trigger notify after insert or delete or update of live_model_id, promotion_no, shadow_model_id on imagehub.datasets
  for each row execute function imagehub.notify_datasets();
