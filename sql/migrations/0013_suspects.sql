-- Images whose known label is probably wrong, as the last search of each dataset found them.
create table imagehub.suspects (
  dataset         text not null references imagehub.datasets on delete cascade,
  id              text not null,
  rank            int not null,
  model_id        bigint not null references imagehub.models on delete cascade,
  known_label     int not null,
  suggested       int not null,
  confidence      real not null,
  self_confidence real not null,
  margin          real not null,
  trained_on      boolean,
  found_at        timestamptz not null default now(),
  primary key (dataset, id)
);
create index on imagehub.suspects (model_id);
comment on table imagehub.suspects is 'Probable label errors of the last imagehub suspects of each dataset, which replaces those before.';
comment on column imagehub.suspects.rank is 'From 1, the most suspicious first.';
comment on column imagehub.suspects.model_id is 'The model whose scores say so.';
comment on column imagehub.suspects.known_label is 'The label when it was looked at; the image may have been relabelled since.';
comment on column imagehub.suspects.suggested is 'Class index that the scores speak for.';
comment on column imagehub.suspects.confidence is 'Probability of the suggested class.';
comment on column imagehub.suspects.self_confidence is 'Probability of the known class: the lower, the more suspicious.';
comment on column imagehub.suspects.margin is 'self_confidence - confidence, from -1 to 0.';
comment on column imagehub.suspects.trained_on is 'The model was trained on this very image, so its scores tend to agree with the label; null: not known.';
