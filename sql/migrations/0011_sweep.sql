-- Where trainings that are not finished stand, so that an interrupted one goes on instead of beginning again.
create table imagehub.checkpoints (
  run_id   bigint primary key references imagehub.runs on delete cascade,
  position jsonb not null,
  arrays   bytea not null,
  saved_at timestamptz not null default now()
);
alter table imagehub.checkpoints alter column arrays set storage external;  -- weights do not compress
comment on table imagehub.checkpoints is 'Where unfinished trainings stand; a row goes with the end of its run, or when nobody went on with it for 30 days.';
comment on column imagehub.checkpoints.position is 'Epoch, step, sums, random numbers, history.';
comment on column imagehub.checkpoints.arrays is 'The order of the images in this epoch, the parameters and the iterate of the momentum: 32-bit numbers, little-endian.';

-- Grids of trainings.
create table imagehub.sweeps (
  id         bigint generated always as identity primary key,
  dataset    text not null references imagehub.datasets on delete cascade,
  -- What was asked for; the same again is the same sweep.
  spec       jsonb not null,
  spec_hash  bytea not null,
  created_by text not null default session_user,
  created_at timestamptz not null default now(),
  unique (dataset, spec_hash)
);
comment on table imagehub.sweeps is 'Grids of trainings: imagehub sweep list shows them.';

create table imagehub.sweep_cells (
  sweep_id      bigint not null references imagehub.sweeps on delete cascade,
  -- Its place in the grid, from 0: windows, then settings.
  cell          int not null,
  -- The window of images that it is trained on; null: all that are labelled.
  data_window   text,
  where_sql     text,
  since         timestamptz,
  until         timestamptz,
  -- Every setting of the training, and the hash that a cell with the same ones is found by.
  settings      jsonb not null,
  settings_hash bytea not null,
  state         text not null default 'waiting'
    check (state in ('waiting', 'running', 'done', 'diverged', 'failed')),
  -- The training; of a cell that was computed before, that one.
  run_id        bigint references imagehub.runs on delete set null,
  -- SHA-256 of the images and labels that it was trained and measured on.
  data_sha256   text,
  train_images  int,
  test_images   int,
  accuracy      double precision,
  -- Plain means over the classes.
  precision     double precision,
  recall        double precision,
  f1            double precision,
  log_loss      double precision,
  train_accuracy double precision,
  -- Of training alone.
  seconds       double precision,
  -- Why it failed, or how it diverged.
  error         text,
  -- Of the best cells of the sweep only; others are trained again when they are promoted.
  onnx          bytea,
  manifest      jsonb,
  model_id      bigint references imagehub.models on delete set null,
  finished_at   timestamptz,
  primary key (sweep_id, cell)
);
alter table imagehub.sweep_cells alter column onnx set storage external;
create index on imagehub.sweep_cells (settings_hash, data_sha256);
create index on imagehub.sweep_cells (run_id);
create index on imagehub.sweep_cells (model_id);
comment on table imagehub.sweep_cells is 'The trainings of sweeps, one per setting, seed and window, with what they reached on images they were not trained on.';
comment on column imagehub.sweep_cells.state is 'diverged: its loss is no number, or it says the same class for every image: a result too.';
comment on column imagehub.sweep_cells.accuracy is 'On the images of --test-where, or on those kept out for validation.';
comment on column imagehub.sweep_cells.model_id is 'The model it was registered as (imagehub sweep promote).';
