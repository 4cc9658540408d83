create or replace view public.label_history as
select c.dataset, c.id, c.changed_at, c.changed_by, old.name as old_class, new.name as new_class,
       c.old_labelled_by, c.operation, o.action, o.undoes, c.old_label, c.new_label
from imagehub.label_changes c
left join imagehub.label_operations o using (operation)
left join imagehub.classes old on old.dataset = c.dataset and old.index = c.old_label
left join imagehub.classes new on new.dataset = c.dataset and new.index = c.new_label;

comment on view public.label_history is 'Every change of a known label by a person: who, when, from which class to which, in which operation.';
comment on column public.label_history.old_labelled_by is 'Who had said so before; null: the producer.';
comment on column public.label_history.operation is 'imagehub relabel undo takes it back as one.';
