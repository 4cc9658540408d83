create or replace view public.newest_mistakes as
select i.dataset, i.id,
       i.known_label, k.name as known_class,
       i.prediction, p.name as predicted_class, i.confidence,
       i.model_id, i.labelled_by, i.ingested_at,
       greatest(i.ingested_at, i.predicted_at, i.labelled_at) as mistaken_since
from public.images i
left join imagehub.classes k on k.dataset = i.dataset and k.index = i.known_label
left join imagehub.classes p on p.dataset = i.dataset and p.index = i.prediction
where i.prediction >= 0 and i.prediction <> i.known_label
order by mistaken_since desc, i.dataset, i.id;

comment on view public.newest_mistakes is
  'Images whose prediction differs from the known label, newest first: add a limit, and where dataset = ….';
comment on column public.newest_mistakes.confidence is 'Probability the model gave to the wrong class, 0 to 1.';
comment on column public.newest_mistakes.mistaken_since is 'When the image was ingested, predicted or labelled, whichever came last.';
