-- Networks whose numbers for an image (features) others build on: trained heads, nearest neighbours, outliers. They belong to
-- no dataset.
create table imagehub.backbones (
  id        bigint generated always as identity primary key,
  name      text not null unique check (name ~ '^[a-z0-9][a-z0-9._-]{0,62}$'),
  manifest  jsonb not null,
  -- Numbers per image.
  features  int not null check (features > 0),
  -- How they are stored.
  precision text not null check (precision in ('float16', 'float32')),
  sha256    bytea not null,
  onnx      bytea not null,
  source    text not null,
  provenance jsonb,
  added_by  text not null default imagehub.acting_user(),
  added_at  timestamptz not null default now()
);
comment on table imagehub.backbones is 'Networks whose output (features) for an image is kept, for training, nearest neighbours and outliers.';
comment on column imagehub.backbones.precision is 'float16 or float32: how the numbers in imagehub.features are stored.';

-- The features of every image by each backbone. A partition per backbone, named features_<id>, so that deleting one is instant.
create table imagehub.features (
  backbone_id bigint not null,
  dataset     text not null,
  id          text not null,
  -- The bytes they are of, as in images; null in datasets with classic columns, which keep no hash.
  sha256      bytea,
  -- Little-endian numbers, as many as the backbone gives; null: it failed on the image, see error.
  vector      bytea,
  error       text,
  computed_at timestamptz not null default now(),
  check ((vector is null) = (error is not null)),
  primary key (backbone_id, dataset, id)
) partition by list (backbone_id);
comment on table imagehub.features is 'What backbones give for images. A row counts while images.sha256 is not distinct from features.sha256.';
comment on column imagehub.features.vector is 'Little-endian float16 or float32 (imagehub.backbones.precision), backbones.features of them.';

create function imagehub.create_features(backbone bigint) returns void language plpgsql as $$
declare
  partition text := 'features_' || backbone;
begin
  execute format('create table imagehub.%I (like imagehub.features including defaults including constraints)', partition);
  execute format('alter table imagehub.%I add primary key (backbone_id, dataset, id), alter column backbone_id set default %s', partition, backbone);
  -- Such numbers do not get smaller by compression, and up to 8 kB of them are read faster where the row is.
  execute format('alter table imagehub.%I alter column vector set storage external', partition);
  execute format('alter table imagehub.%I set (toast_tuple_target = 8160)', partition);
  execute format('alter table imagehub.features attach partition imagehub.%I for values in (%s)', partition, backbone);
end $$;
