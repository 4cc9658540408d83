create or replace view public.label_suspects as
select s.dataset, s.rank, s.id,
       s.known_label, k.name as known_class,
       s.suggested, c.name as suggested_class,
       s.confidence, s.self_confidence, s.margin, s.trained_on, s.model_id, s.found_at,
       i.known_label is distinct from s.known_label as relabelled
from imagehub.suspects s
join public.images i on i.dataset = s.dataset and i.id = s.id
left join imagehub.classes k on k.dataset = s.dataset and k.index = s.known_label
left join imagehub.classes c on c.dataset = s.dataset and c.index = s.suggested;

comment on view public.label_suspects is
  'Images whose known label is probably wrong, as the last imagehub suspects found them: add where dataset = … order by rank.';
comment on column public.label_suspects.rank is 'From 1, the most suspicious first.';
comment on column public.label_suspects.suggested_class is 'What the scores speak for.';
comment on column public.label_suspects.confidence is 'Probability of the suggested class, 0 to 1.';
comment on column public.label_suspects.self_confidence is 'Probability of the known class, 0 to 1: the lower, the more suspicious.';
comment on column public.label_suspects.margin is 'self_confidence - confidence, from -1 to 0.';
comment on column public.label_suspects.relabelled is 'The image has another known label since then.';
