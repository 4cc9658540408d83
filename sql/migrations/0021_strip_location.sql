-- Whether the place where pictures were taken is taken out of them before they are stored.
alter table imagehub.datasets add column strip_location boolean not null default false;
comment on column imagehub.datasets.strip_location is 'New images are stored without the place where they were taken.';
