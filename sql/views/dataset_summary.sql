create or replace view public.dataset_summary as
select d.name as dataset,
       coalesce(s.images, 0) as images,
       coalesce(s.classified, 0) as classified,
       coalesce(s.images - s.classified, 0) as unclassified,
       coalesce(s.labelled, 0) as labelled,
       coalesce(s.labelled_by_people, 0) as labelled_by_people,
       coalesce(s.evaluated, 0) as evaluated,
       coalesce(s.correct, 0) as correct,
       s.correct::float8 / nullif(s.evaluated, 0) as accuracy,
       s.last_ingested_at
from imagehub.datasets d
left join (
  select dataset,
         count(*) as images,
         count(*) filter (where prediction >= 0) as classified,
         count(known_label) as labelled,
         count(labelled_by) as labelled_by_people,
         count(known_label) filter (where prediction >= 0) as evaluated,
         count(*) filter (where prediction = known_label) as correct,
         max(ingested_at) as last_ingested_at
  from public.images group by dataset
) s on s.dataset = d.name;

comment on view public.dataset_summary is 'One row per dataset: how many images, classified, labelled, and the accuracy.';
comment on column public.dataset_summary.labelled is 'Images with a known label.';
comment on column public.dataset_summary.labelled_by_people is 'Images whose label (or its removal) a person decided.';
comment on column public.dataset_summary.evaluated is 'Images with a prediction and a known label: those that count for the accuracy.';
comment on column public.dataset_summary.correct is 'Evaluated images whose prediction is the known label.';
comment on column public.dataset_summary.accuracy is 'correct / evaluated, 0 to 1; null: nothing to evaluate.';
