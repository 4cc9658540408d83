create or replace view public.accuracy_by_hour as
select dataset, date_trunc('hour', ingested_at) as hour,
       count(*) as images,
       count(*) filter (where prediction >= 0) as classified,
       count(known_label) filter (where prediction >= 0) as evaluated,
       count(*) filter (where prediction = known_label) as correct,
       count(*) filter (where prediction = known_label)::float8
         / nullif(count(known_label) filter (where prediction >= 0), 0) as accuracy
from public.images
group by dataset, date_trunc('hour', ingested_at);

comment on view public.accuracy_by_hour is 'Images and accuracy per hour in which the images were ingested, in the session''s time zone.';
comment on column public.accuracy_by_hour.evaluated is 'Images with a prediction and a known label.';
comment on column public.accuracy_by_hour.accuracy is 'correct / evaluated, 0 to 1; null: nothing to evaluate.';
