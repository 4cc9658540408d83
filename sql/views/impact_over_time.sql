create or replace view public.impact_over_time as
select i.dataset, i.impact_no as impact, c.bucket as "time",
       sum(c.images)::bigint as images,
       coalesce(sum(c.images) filter (where c.outcome = 'fixed'), 0)::bigint as fixed,
       coalesce(sum(c.images) filter (where c.outcome = 'broken'), 0)::bigint as broken,
       coalesce(sum(c.images) filter (where c.outcome = 'still_wrong'), 0)::bigint as still_wrong,
       coalesce(sum(c.images) filter (where c.outcome = 'changed'), 0)::bigint as changed,
       coalesce(sum(c.images) filter (where c.outcome = 'unchanged'), 0)::bigint as unchanged,
       coalesce(sum(c.images) filter (where c.outcome = 'failed'), 0)::bigint as failed,
       (sum(c.images) filter (where c.live_prediction = c.known_label and c.outcome <> 'failed')
         / nullif(sum(c.images) filter (where c.known_label is not null and c.outcome <> 'failed'), 0))::float8 as live_accuracy,
       (sum(c.images) filter (where c.candidate_prediction = c.known_label and c.outcome <> 'failed')
         / nullif(sum(c.images) filter (where c.known_label is not null and c.outcome <> 'failed'), 0))::float8 as candidate_accuracy
from imagehub.impact_counts c
join imagehub.impacts i on i.impact_no = c.impact_no and i.finished_at is not null
group by i.dataset, i.impact_no, c.bucket;

comment on view public.impact_over_time is 'Each impact by the hour or day (UTC) in which the images were ingested, or captured.';
comment on column public.impact_over_time."time" is 'Begin of the hour or day; null: images without that time.';
