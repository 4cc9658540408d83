-- What a training saw, row by row, so that an evaluation can leave it out; and what an evaluation saw, compactly, so that
-- two can be compared image by image.

-- Labelled images as one or more trainings read them: runs that read the same rows with the same labels share one.
create table imagehub.training_sets (
  id         bigint generated always as identity primary key,
  dataset    text not null references imagehub.datasets on delete cascade,
  -- Over ids, labels and images, in their order.
  sha256     bytea not null,
  images     int not null,
  created_at timestamptz not null default now(),
  unique (dataset, sha256)
);
comment on table imagehub.training_sets is 'Labelled images as trainings read them; runs that read the same ones share a set.';
comment on column imagehub.training_sets.sha256 is 'SHA-256 over ids, labels and images, in the order of the ids.';

-- No foreign key: it would check every row that COPY writes. The trigger below removes a set's images with it.
create table imagehub.training_set_images (
  training_set_id bigint not null,
  place           int not null,
  id              text not null,
  label           int not null,
  image_sha256    bytea not null,
  primary key (training_set_id, place)
);
-- In the order of the ids, for a merge with images in the order of its key.
create unique index training_set_images_id on imagehub.training_set_images (training_set_id, id);
comment on table imagehub.training_set_images is 'The rows of each training set, with the labels they had then.';
comment on column imagehub.training_set_images.place is 'From 0, in the order of the ids; the bit of runs.held_out.';
comment on column imagehub.training_set_images.image_sha256 is 'Of the bytes that were trained on; the image may have been replaced since.';

create function imagehub.after_training_set_delete() returns trigger language plpgsql as $$
begin
  delete from imagehub.training_set_images where training_set_id = old.id;
  return null;
end $$;
create trigger after_delete after delete on imagehub.training_sets
  for each row execute function imagehub.after_training_set_delete();

-- The images of one or more evaluations: a number per image that stands for its id, its bytes and its known label.
create table imagehub.evaluation_sets (
  id         bigint generated always as identity primary key,
  dataset    text not null references imagehub.datasets on delete cascade,
  sha256     bytea not null,
  images     int not null,
  keys       bytea not null,
  created_at timestamptz not null default now(),
  unique (dataset, sha256)
);
alter table imagehub.evaluation_sets alter column keys set storage external;  -- hashes do not compress
comment on table imagehub.evaluation_sets is 'The images that evaluations were about; evaluations of the same ones share a set.';
comment on column imagehub.evaluation_sets.keys is 'Eight bytes per image, ascending: the start of a SHA-256 over id, bytes and known label.';

alter table imagehub.runs
  add column training_set_id   bigint references imagehub.training_sets,
  add column held_out          bytea,
  add column evaluation_set_id bigint references imagehub.evaluation_sets,
  add column correct           bytea,
  -- Of an evaluation: deleting a model leaves its row, and so this.
  add column model_id          bigint references imagehub.models on delete cascade;
create index on imagehub.runs (training_set_id);
create index on imagehub.runs (evaluation_set_id);
create index on imagehub.runs (model_id);
comment on column imagehub.runs.training_set_id is 'What a training read; null: it ended before, or it was before this was recorded.';
comment on column imagehub.runs.held_out is 'get_bit(held_out, place): the row of the training set was kept out of training, for validation.';
comment on column imagehub.runs.evaluation_set_id is 'What an evaluation was about.';
comment on column imagehub.runs.correct is 'get_bit(correct, n): the n-th image of the evaluation set was classified rightly.';
comment on column imagehub.runs.model_id is 'The model that was evaluated.';

-- Whether an image that lies in a training set is still the one that was trained on. Rows inserted by hand and datasets
-- with classic columns keep no hash.
create function imagehub.same_image(trained bytea, stored bytea, image_base64 text) returns boolean
language sql immutable parallel safe as $$
  select trained = coalesce(stored, sha256(decode(image_base64, 'base64')))
$$;
