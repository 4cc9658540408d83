create or replace view public.sweep_results as
select s.dataset, s.id as sweep, c.cell, c.data_window, c.state,
       array_to_string(array(select jsonb_array_elements_text(c.settings -> 'options' -> 'hidden')), 'x') as hidden,
       (c.settings -> 'options' ->> 'rate')::float8 as rate,
       (c.settings -> 'options' ->> 'seed')::bigint as seed,
       c.settings -> 'options' as settings,
       c.train_images, c.test_images, c.accuracy, c.precision, c.recall, c.f1, c.log_loss, c.train_accuracy, c.seconds,
       c.error, c.run_id, c.model_id, c.since, c.until, c.finished_at
from imagehub.sweeps s
join imagehub.sweep_cells c on c.sweep_id = s.id;

comment on view public.sweep_results is
  'Every training of every sweep, with what it reached on images that it was not trained on.';
comment on column public.sweep_results.state is 'waiting, running, done, diverged (a result too), failed (could not be trained).';
comment on column public.sweep_results.hidden is 'Sizes of the hidden layers, e.g. 500x100; empty: logistic regression.';
comment on column public.sweep_results.settings is 'Every setting of the training.';
comment on column public.sweep_results.precision is 'Plain mean over the classes, as recall and f1 are.';
comment on column public.sweep_results.seconds is 'Of training alone.';
