create or replace view public.impact_pairs as
select i.dataset, i.impact_no as impact, c.outcome,
       c.known_label, k.name as known_class,
       c.live_prediction, l.name as live_class,
       c.candidate_prediction, n.name as candidate_class,
       sum(c.images)::bigint as images,
       sum(c.live_confidence_sum) / sum(c.images) as live_confidence,
       sum(c.candidate_confidence_sum) / sum(c.images) as candidate_confidence
from imagehub.impact_counts c
join imagehub.impacts i on i.impact_no = c.impact_no and i.finished_at is not null
left join imagehub.classes k on k.dataset = i.dataset and k.index = c.known_label
left join imagehub.classes l on l.dataset = i.dataset and l.index = c.live_prediction
left join imagehub.classes n on n.dataset = i.dataset and n.index = c.candidate_prediction
group by i.dataset, i.impact_no, c.outcome, c.known_label, k.name, c.live_prediction, l.name, c.candidate_prediction, n.name;

comment on view public.impact_pairs is
  'The images of each impact, counted by known class and by what the live model and the candidate say; unchanged ones too.';
comment on column public.impact_pairs.known_class is 'null: the label is unknown.';
comment on column public.impact_pairs.live_class is 'null: the live model failed.';
comment on column public.impact_pairs.candidate_class is 'null: the candidate failed.';
comment on column public.impact_pairs.live_confidence is 'Mean over these images.';
comment on column public.impact_pairs.candidate_confidence is 'Mean over these images.';
