-- Which model was the shadow, when, and by whose wish.
create table imagehub.shadows (
  shadow_no  bigint generated always as identity primary key,
  dataset    text not null references imagehub.datasets on delete cascade,
  model_id   bigint not null references imagehub.models on delete cascade,
  started_by text not null default imagehub.acting_user(),
  started_at timestamptz not null default now(),
  ended_by   text,
  ended_at   timestamptz
);
create index on imagehub.shadows (dataset);
comment on table imagehub.shadows is 'Which models predicted new images beside the live one, and from when to when.';
comment on column imagehub.shadows.ended_at is 'null: it still does.';

-- However the shadow is set: it belongs to the dataset, its bytes are there, it has a partition to write to, and it is not
-- the live model. A shadow that goes live is none any more, and its predictions stay.
create function imagehub.before_shadow_change() returns trigger language plpgsql as $$
begin
  if new.shadow_model_id = new.live_model_id then
    if new.live_model_id is not distinct from old.live_model_id then
      raise exception 'model % is live in %: it cannot be its own shadow', new.shadow_model_id, new.name
        using errcode = '23514';
    end if;
    new.shadow_model_id := null;
  end if;
  if new.shadow_model_id is null or new.shadow_model_id = old.shadow_model_id then
    return new;
  end if;
  if not exists (select from imagehub.models m
                 where m.id = new.shadow_model_id and m.dataset = new.name and m.deleted_at is null) then
    raise exception '% has no model %, or it was deleted', new.name, new.shadow_model_id using errcode = '23503';
  end if;
  perform imagehub.ensure_predictions(new.shadow_model_id);
  return new;
end $$;
create trigger before_shadow_change before update of live_model_id, shadow_model_id on imagehub.datasets
  for each row execute function imagehub.before_shadow_change();

-- No "update of": what the trigger above changed is not in the statement's list.
create function imagehub.after_shadow_change() returns trigger language plpgsql as $$
begin
  update imagehub.shadows set ended_by = imagehub.acting_user(), ended_at = now()
   where dataset = new.name and ended_at is null;
  if new.shadow_model_id is not null then
    insert into imagehub.shadows (dataset, model_id) values (new.name, new.shadow_model_id);
  end if;
  return null;
end $$;
create trigger after_shadow_change after update on imagehub.datasets
  for each row when (old.shadow_model_id is distinct from new.shadow_model_id)
  execute function imagehub.after_shadow_change();

-- A deleted model predicts nothing any more.
create function imagehub.after_model_deleted() returns trigger language plpgsql as $$
begin
  update imagehub.datasets set shadow_model_id = null where name = new.dataset and shadow_model_id = new.id;
  return null;
end $$;
create trigger after_model_deleted after update of deleted_at on imagehub.models
  for each row when (old.deleted_at is null and new.deleted_at is not null)
  execute function imagehub.after_model_deleted();

-- A candidate compared with the live model on stored images.
create table imagehub.impacts (
  impact_no          bigint generated always as identity primary key,
  dataset            text not null references imagehub.datasets on delete cascade,
  run_id             bigint references imagehub.runs on delete set null,
  candidate_model_id bigint not null references imagehub.models on delete cascade,
  -- The live model it is compared with; null: with the predictions that stood in the table, whoever made them.
  live_model_id      bigint references imagehub.models on delete cascade,
  -- In words; empty: all images.
  selection          text not null,
  -- What the buckets are of: ingested_at or captured_at, and how wide they are.
  time_column        text not null check (time_column in ('ingested_at', 'captured_at')),
  bucket             text not null check (bucket in ('hour', 'day')),
  -- The whole report, as `imagehub impact show --json` prints it; null: not finished.
  report             jsonb,
  started_by         text not null default imagehub.acting_user(),
  started_at         timestamptz not null default now(),
  finished_at        timestamptz
);
create index on imagehub.impacts (dataset);

-- The images on which they differ, or one of them failed.
create table imagehub.impact_images (
  impact_no            bigint not null references imagehub.impacts on delete cascade,
  id                   text not null,
  sha256               bytea,
  outcome              text not null check (outcome in ('fixed', 'broken', 'still_wrong', 'changed', 'unchanged', 'failed')),
  known_label          int,
  live_prediction      int not null,
  live_confidence      real,
  candidate_prediction int not null,
  candidate_confidence real,
  in_training          boolean not null,
  at                   timestamptz,
  error                text,
  primary key (impact_no, id)
);

-- All compared images, counted.
create table imagehub.impact_counts (
  impact_no                bigint not null references imagehub.impacts on delete cascade,
  -- null: images without that time.
  bucket                   timestamptz,
  known_label              int,
  live_prediction          int not null,
  candidate_prediction     int not null,
  in_training              boolean not null,
  outcome                  text not null,
  images                   bigint not null,
  live_confidence_sum      double precision not null,
  candidate_confidence_sum double precision not null
);
create index on imagehub.impact_counts (impact_no);

comment on table imagehub.impacts is 'A candidate compared with the live model on stored images; imagehub impact.';
comment on table imagehub.impact_images is 'The images of an impact on which the two differ, or one of them failed; with --all every one.';
comment on column imagehub.impact_images.outcome is 'fixed: wrong before, right now; broken: the reverse; still_wrong: another wrong class; changed: another class, and the label is unknown; failed: one of them could not predict.';
comment on column imagehub.impact_images.in_training is 'The candidate was trained on these bytes.';
comment on table imagehub.impact_counts is 'All images of an impact, counted by time, known class and both predictions.';
