-- How images and predictions change over time: reports, what is watched, and what was raised.

create table imagehub.drift_monitors (
  id             bigint generated always as identity primary key,
  dataset        text not null references imagehub.datasets on delete cascade,
  by_time        text not null check (by_time in ('ingested', 'captured')),
  every_seconds  int not null check (every_seconds > 0),
  window_seconds int not null check (window_seconds > 0),
  -- Which images are the reference; ages in it move with every check.
  reference      jsonb not null,
  -- {"prediction_psi": 0.25, …}
  thresholds     jsonb not null,
  min_images     int not null check (min_images > 0),
  webhook        text,
  created_by     text not null default session_user,
  created_at     timestamptz not null default now(),
  -- The next check is due then. A process that checks holds the row's lock: no other takes it, and if the process is
  -- killed, the check is still due.
  next_at        timestamptz not null default now(),
  checked_at     timestamptz,
  -- Why the last check said nothing; null: it did.
  problem        text
);
comment on table imagehub.drift_monitors is 'What imagehub run watches for drift: imagehub drift watch list.';

create table imagehub.drift_reports (
  id               bigint generated always as identity primary key,
  dataset          text not null references imagehub.datasets on delete cascade,
  -- Null: it was asked for by hand.
  monitor_id       bigint references imagehub.drift_monitors on delete cascade,
  by_time          text not null check (by_time in ('ingested', 'captured')),
  window_since     timestamptz not null,
  window_until     timestamptz not null,
  -- How the reference was chosen, in words.
  compared_with    text not null,
  images           bigint not null,
  reference_images bigint not null,
  -- As imagehub drift --json prints it.
  report           jsonb not null,
  created_by       text not null default session_user,
  created_at       timestamptz not null default now(),
  check (window_since < window_until)
);
create index on imagehub.drift_reports (dataset, window_until);
create index on imagehub.drift_reports (monitor_id, id);
-- Asked for again, the newer answer replaces the older.
create unique index drift_report_again on imagehub.drift_reports
  (dataset, by_time, window_since, window_until, compared_with) where monitor_id is null;
comment on table imagehub.drift_reports is 'One row per compared window; its figures are in drift_measures.';

create table imagehub.drift_measures (
  report_id bigint not null references imagehub.drift_reports on delete cascade,
  measure   text not null,
  value     double precision not null,
  noise     double precision not null,
  primary key (report_id, measure)
);
comment on column imagehub.drift_measures.noise is 'What chance alone exceeds in one of a thousand windows when nothing has changed.';

create table imagehub.drift_crossings (
  id            bigint generated always as identity primary key,
  monitor_id    bigint not null references imagehub.drift_monitors on delete cascade,
  measure       text not null,
  threshold     double precision not null,
  raised_report bigint not null references imagehub.drift_reports on delete cascade,
  raised_value  double precision not null,
  raised_at     timestamptz not null default now(),
  ended_report  bigint references imagehub.drift_reports on delete cascade,
  ended_value   double precision,
  ended_at      timestamptz,
  -- Checks in a row, up to the last, that could not measure it; after some the alert ends, for this reason.
  unmeasured    int not null default 0,
  ended_reason  text
);
-- Raised once per crossing.
create unique index drift_crossing_open on imagehub.drift_crossings (monitor_id, measure) where ended_at is null;
create index on imagehub.drift_crossings (monitor_id, raised_at);
create index on imagehub.drift_crossings (raised_report);
create index on imagehub.drift_crossings (ended_report);
comment on table imagehub.drift_crossings is 'Thresholds crossed: from raised_at to ended_at, null while it lasts.';

-- What a webhook is told: written with the alerts, sent afterwards, so that neither waits for the other.
create table imagehub.drift_notices (
  id            bigint generated always as identity primary key,
  monitor_id    bigint not null references imagehub.drift_monitors on delete cascade,
  payload       jsonb not null,
  created_at    timestamptz not null default now(),
  -- A process is sending it; past this, it is taken for dead.
  claimed_until timestamptz,
  attempts      int not null default 0,
  delivered_at  timestamptz,
  failed_at     timestamptz,
  error         text
);
create index on imagehub.drift_notices (monitor_id, id) where delivered_at is null and failed_at is null;
comment on table imagehub.drift_notices is 'Calls of webhooks, and what became of them.';
