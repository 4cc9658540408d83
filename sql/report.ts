import { type Pool, transaction } from './database.ts';
import { getDataset } from './datasets.ts';

/** What `imagehub report --json` prints. Fractions are 0 to 1; null where there is nothing to divide by. */
export interface DatasetReport {
  dataset: string;
  images: number;
  /** Images with a prediction; images = classified + unclassified. */
  classified: number;
  unclassified: number;
  /** Images with a known label. */
  labelled: number;
  /** Images whose label, or its removal, a person decided. */
  labelledByPeople: number;
  /** Images with both a prediction and a known label: what accuracy, classes and confusionMatrix are about. */
  evaluated: number;
  correct: number;
  /** correct / evaluated. */
  accuracy: number | null;
  liveModel: LiveModel | null;
  deadLetters: { total: number; reasons: DeadLetterCount[] };
  /** In class order. */
  classes: ClassReport[];
  /** counts[known][predicted], both in class order. */
  confusionMatrix: number[][];
}

export interface LiveModel {
  /** The model's version, as `imagehub promote` takes it. */
  model: number;
  promotionNo: number;
  promotedAt: Date;
  /** How the model was made. */
  source: string;
}

export interface DeadLetterCount {
  stage: string;
  reason: string;
  count: number;
}

export interface ClassReport {
  index: number;
  name: string;
  /** Images of this known label / with this prediction / both, among the evaluated. */
  support: number;
  predicted: number;
  correct: number;
  precision: number | null;
  recall: number | null;
  f1: number | null;
}

/**
 * Counts, accuracy, per-class metrics and confusion matrix of a dataset, all from one moment (one snapshot), by the
 * public views that analysts use too.
 * @throws HubError NOT_FOUND
 */
export async function datasetReport(pool: Pool, name: string): Promise<DatasetReport> {
  return transaction(pool, async (client) => {
    await client.query('set transaction isolation level repeatable read, read only');
    await getDataset(client, name);
    const summary = await client.query<
      Omit<DatasetReport, 'liveModel' | 'deadLetters' | 'classes' | 'confusionMatrix'>
    >(
      `select dataset, images, classified, unclassified, labelled, labelled_by_people as "labelledByPeople",
              evaluated, correct, accuracy
       from public.dataset_summary where dataset = $1`,
      [name],
    );
    const live = await client.query<LiveModel>(
      `select m.id as model, d.promotion_no as "promotionNo", p.promoted_at as "promotedAt", m.source
       from imagehub.datasets d join imagehub.models m on m.id = d.live_model_id
       left join imagehub.promotions p on p.dataset = d.name and p.promotion_no = d.promotion_no
       where d.name = $1`,
      [name],
    );
    const reasons = await client.query<DeadLetterCount>(
      `select stage, reason, count(*) from imagehub.dead_letters where dataset = $1
       group by stage, reason order by count(*) desc, stage, reason`,
      [name],
    );
    const classes = await client.query<ClassReport>(
      `select class_index as index, class as name, support, predicted, correct, precision, recall, f1
       from public.class_metrics where dataset = $1 order by class_index`,
      [name],
    );
    const cells = await client.query<{ known: number; predicted: number; images: number }>(
      `select known_label as known, prediction as predicted, images
       from public.confusion_matrix where dataset = $1 and images > 0`,
      [name],
    );
    const confusionMatrix = classes.rows.map(() => classes.rows.map(() => 0));
    for (const { known, predicted, images } of cells.rows) confusionMatrix[known]![predicted] = images;
    return {
      ...summary.rows[0]!,
      liveModel: live.rows[0] ?? null,
      deadLetters: {
        total: reasons.rows.reduce((total, { count }) => total + count, 0),
        reasons: reasons.rows,
      },
      classes: classes.rows,
      confusionMatrix,
    };
  });
}
