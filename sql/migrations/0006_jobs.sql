-- Long work, cut into parts that any number of processes take. These tables are the truth; the queue of pg-boss (schema
-- imagehub_jobs) only carries hints that a part is to be done, and may repeat them or be thrown away (imagehub job resume
-- sends them anew).

create table imagehub.schedules (
  id         bigint generated always as identity primary key,
  -- An imagehub command that starts a job, without the word imagehub.
  command    text not null,
  cron       text not null,
  timezone   text not null,
  created_by text not null default session_user,
  created_at timestamptz not null default now(),
  unique (command, cron, timezone)
);
comment on table imagehub.schedules is 'Commands that the running workers start by the clock, each time once, however many workers there are.';

create table imagehub.jobs (
  id           bigint generated always as identity primary key,
  -- No foreign key: what was done stays known when the dataset is dropped.
  dataset      text not null,
  kind         text not null,
  parameters   jsonb not null,
  -- What a worker needs to have.
  device       text not null default 'cpu',
  state        text not null default 'waiting'
    check (state in ('waiting', 'running', 'paused', 'done', 'failed', 'cancelled')),
  -- Units (images, as a rule).
  units        bigint not null,
  units_done   bigint not null default 0,
  parts        int not null,
  parts_done   int not null default 0,
  parts_failed int not null default 0,
  -- Sums over the parts that are done, by name.
  counts       jsonb not null default '{}',
  -- Units per second, over all workers; null: as fast as they can.
  throttle     double precision check (throttle > 0),
  -- When the next part may begin, by the throttle.
  free_at      timestamptz not null default now(),
  error        text,
  -- false: what it is about is gone for good.
  resumable    boolean not null default true,
  schedule     bigint references imagehub.schedules on delete set null,
  created_by   text not null default session_user,
  created_at   timestamptz not null default now(),
  started_at   timestamptz,
  -- Since when it has been going on without a break: what the time left is reckoned from.
  resumed_at   timestamptz,
  finished_at  timestamptz
);
comment on table imagehub.jobs is 'Long work: what it is, how far it is, how it ended. imagehub job list shows it.';
create index on imagehub.jobs (schedule, id) where schedule is not null;
create index on imagehub.jobs (state) where state in ('waiting', 'running', 'paused');

create table imagehub.job_parts (
  job         bigint not null references imagehub.jobs on delete cascade,
  part        int not null,
  -- E.g. a range of keys; what it means is the job kind's business.
  what        jsonb not null,
  units       int not null,
  state       text not null default 'waiting' check (state in ('waiting', 'running', 'done', 'failed')),
  counts      jsonb,
  -- How often it was begun; it tells one attempt from another when both believe that they have it.
  attempts    int not null default 0,
  error       text,
  worker      text,
  -- While it runs: renewed every few seconds; past it, the worker is taken for dead and another may begin the part.
  lease_until timestamptz,
  not_before  timestamptz not null default now(),
  started_at  timestamptz,
  finished_at timestamptz,
  primary key (job, part)
);
comment on table imagehub.job_parts is 'The parts of jobs. A part becomes done in the transaction that writes its results, so each counts once.';
create index on imagehub.job_parts (job, part) where state in ('waiting', 'running');

create table imagehub.job_workers (
  worker     text primary key,
  devices    text[] not null,
  started_at timestamptz not null default now(),
  seen_at    timestamptz not null default now()
);
comment on table imagehub.job_workers is 'Processes that take parts of jobs; one that has not been seen for some seconds is gone.';

create table imagehub.schedule_runs (
  schedule bigint not null references imagehub.schedules on delete cascade,
  -- The moment it was due at, not when it began: the first process to insert it is the one that starts the job.
  due      timestamptz not null,
  worker   text not null,
  job      bigint references imagehub.jobs on delete set null,
  -- Why no job was started.
  error    text,
  primary key (schedule, due)
);

-- {"a": 1} + {"a": 2, "b": 3} = {"a": 3, "b": 3}
create function imagehub.add_counts(a jsonb, b jsonb) returns jsonb language sql immutable as $$
  select coalesce(jsonb_object_agg(key, total), '{}')
    from (select key, sum(value::numeric) as total
            from (select * from jsonb_each_text(a) union all select * from jsonb_each_text(b)) as entries
           group by key) as totals
$$;

create function imagehub.fail_jobs_of_dataset() returns trigger language plpgsql as $$
begin
  update imagehub.jobs
     set state = 'failed', error = format('Dataset %s was dropped.', old.name), finished_at = clock_timestamp()
   where dataset = old.name and state in ('waiting', 'running', 'paused');
  update imagehub.jobs set resumable = false where dataset = old.name and resumable;
  return null;
end $$;
create trigger fail_jobs after delete on imagehub.datasets
  for each row execute function imagehub.fail_jobs_of_dataset();
