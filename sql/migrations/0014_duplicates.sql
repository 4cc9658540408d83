-- Groups of images that imagehub duplicates found and somebody said are no duplicates of each other. It holds for the bytes
-- that they had: an image that comes anew with others is looked at again.
create sequence imagehub.ignored_duplicates_set;

create table imagehub.ignored_duplicates (
  dataset    text not null references imagehub.datasets on delete cascade,
  set_no     bigint not null,
  id         text not null,
  sha256     bytea not null,
  -- The group's name when it was ignored: the image that would have stayed.
  group_id   text not null,
  ignored_by text not null default imagehub.acting_user(),
  ignored_at timestamptz not null default now(),
  primary key (dataset, set_no, id)
);
comment on table imagehub.ignored_duplicates is 'Images that are no duplicates of each other, though they look alike (imagehub duplicates --ignore): those with one set_no.';
comment on column imagehub.ignored_duplicates.sha256 is 'The bytes that it was said of; it does not hold for others.';
comment on column imagehub.ignored_duplicates.group_id is 'The name of the group when it was ignored.';
