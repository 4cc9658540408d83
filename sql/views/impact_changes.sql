create or replace view public.impact_changes as
select i.dataset, m.impact_no as impact, m.id, m.outcome,
       m.known_label, k.name as known_class,
       m.live_prediction, l.name as live_class, m.live_confidence,
       m.candidate_prediction, n.name as candidate_class, m.candidate_confidence,
       m.in_training, m.at, m.error
from imagehub.impact_images m
join imagehub.impacts i on i.impact_no = m.impact_no and i.finished_at is not null
left join imagehub.classes k on k.dataset = i.dataset and k.index = m.known_label
left join imagehub.classes l on l.dataset = i.dataset and l.index = m.live_prediction
left join imagehub.classes n on n.dataset = i.dataset and n.index = m.candidate_prediction;

comment on view public.impact_changes is
  'The images on which a candidate and the live model differ, or one failed: join the dataset''s table by id for the image.';
comment on column public.impact_changes.outcome is 'fixed, broken, still_wrong (another wrong class), changed (the label is unknown), failed; unchanged with impact --all.';
comment on column public.impact_changes.known_class is 'As it was known when they were compared; null: unknown.';
comment on column public.impact_changes.in_training is 'The candidate was trained on these bytes.';
comment on column public.impact_changes.at is 'When the image was ingested, or captured.';
comment on column public.impact_changes.error is 'Why one of the two could not predict the image.';
