-- Counted from impact_counts, which is small: the images themselves are not read.
create or replace view public.impact_summary as
select i.dataset, i.impact_no as impact, i.candidate_model_id as candidate, i.live_model_id as live, i.selection,
       i.started_by, i.finished_at,
       coalesce(sum(c.images), 0)::bigint as images,
       coalesce(sum(c.images) filter (where c.outcome = 'fixed'), 0)::bigint as fixed,
       coalesce(sum(c.images) filter (where c.outcome = 'broken'), 0)::bigint as broken,
       coalesce(sum(c.images) filter (where c.outcome = 'still_wrong'), 0)::bigint as still_wrong,
       coalesce(sum(c.images) filter (where c.outcome = 'changed'), 0)::bigint as changed,
       coalesce(sum(c.images) filter (where c.outcome = 'unchanged'), 0)::bigint as unchanged,
       coalesce(sum(c.images) filter (where c.outcome = 'failed'), 0)::bigint as failed,
       coalesce(sum(c.images) filter (where c.in_training), 0)::bigint as in_training,
       (sum(c.images) filter (where c.live_prediction = c.known_label and c.outcome <> 'failed')
         / nullif(sum(c.images) filter (where c.known_label is not null and c.outcome <> 'failed'), 0))::float8 as live_accuracy,
       (sum(c.images) filter (where c.candidate_prediction = c.known_label and c.outcome <> 'failed')
         / nullif(sum(c.images) filter (where c.known_label is not null and c.outcome <> 'failed'), 0))::float8 as candidate_accuracy
from imagehub.impacts i
left join imagehub.impact_counts c on c.impact_no = i.impact_no
where i.finished_at is not null
group by i.impact_no;

comment on view public.impact_summary is 'One row per impact: a candidate compared with the live model on stored images (imagehub impact).';
comment on column public.impact_summary.live is 'The live model it was compared with; null: the predictions that stood in the table.';
comment on column public.impact_summary.fixed is 'Images that the live model had wrong and the candidate has right.';
comment on column public.impact_summary.broken is 'Images that the live model had right and the candidate has wrong.';
comment on column public.impact_summary.still_wrong is 'Images that both have wrong, in different ways.';
comment on column public.impact_summary.changed is 'Images that the candidate says something else of, and whose label is unknown.';
comment on column public.impact_summary.failed is 'Images that one of the two could not predict; they count for no accuracy.';
comment on column public.impact_summary.in_training is 'Images that the candidate was trained on.';
