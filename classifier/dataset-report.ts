import { type Pool, transaction } from '../sql/database.ts';
import { getDataset } from '../sql/datasets.ts';
import type { ImageStores } from '../sql/image-store.ts';
import type { ImageTally } from '../sql/stored-images.ts';
import { metricsOf } from './metrics.ts';

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
 * Counts, accuracy, per-class metrics and confusion matrix of a dataset: what the public views say of one in Postgres. All from
 * one moment; images in another store may be as of the next one.
 * @throws HubError NOT_FOUND; NO_SERVER, SERVER_UNREACHABLE: the images are in a store that does not answer
 */
export async function datasetReport(
  { pool, stores }: { pool: Pool; stores: ImageStores },
  name: string,
): Promise<DatasetReport> {
  return transaction(pool, async (client) => {
    await client.query('set transaction isolation level repeatable read, read only');
    const dataset = await getDataset(client, name);
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
    const tallies = await stores[dataset.store].images.tally(client, name);
    return {
      dataset: name,
      ...countsOf(tallies),
      liveModel: live.rows[0] ?? null,
      deadLetters: {
        total: reasons.rows.reduce((total, { count }) => total + count, 0),
        reasons: reasons.rows,
      },
      ...classesOf(dataset.classes, tallies),
    };
  });
}

const sum = (tallies: readonly ImageTally[], where: (tally: ImageTally) => boolean): number =>
  tallies.reduce((total, tally) => total + (where(tally) ? tally.images : 0), 0);

const isClassified = ({ prediction }: ImageTally) => prediction >= 0;
const isLabelled = ({ knownLabel }: ImageTally) => knownLabel !== null;

function countsOf(tallies: readonly ImageTally[]) {
  const evaluated = sum(tallies, (tally) => isClassified(tally) && isLabelled(tally));
  const correct = sum(tallies, ({ prediction, knownLabel }) => prediction === knownLabel);
  return {
    images: sum(tallies, () => true),
    classified: sum(tallies, isClassified),
    unclassified: sum(tallies, (tally) => !isClassified(tally)),
    labelled: sum(tallies, isLabelled),
    labelledByPeople: sum(tallies, ({ byPerson }) => byPerson),
    evaluated,
    correct,
    accuracy: evaluated > 0 ? correct / evaluated : null,
  };
}

function classesOf(
  names: readonly string[],
  tallies: readonly ImageTally[],
): Pick<DatasetReport, 'classes' | 'confusionMatrix'> {
  // One more for what is no class of the dataset, as whoever sets labels by hand may.
  const other = names.length;
  const matrix = Array.from({ length: other + 1 }, () => new Array<number>(other + 1).fill(0));
  for (const { knownLabel, prediction, images } of tallies) {
    if (knownLabel === null || prediction < 0) continue;
    const row = matrix[knownLabel < 0 ? other : Math.min(knownLabel, other)]!;
    row[Math.min(prediction, other)]! += images;
  }
  const { perClass } = metricsOf(matrix);
  const classes = names.map((name, index): ClassReport => {
    const { support, precision, recall, f1 } = perClass[index]!;
    const predicted = matrix.reduce((total, row) => total + row[index]!, 0);
    return {
      index,
      name,
      support,
      predicted,
      correct: matrix[index]![index]!,
      precision: predicted > 0 ? precision : null,
      recall: support > 0 ? recall : null,
      f1: predicted + support > 0 ? f1 : null,
    };
  });
  return { classes, confusionMatrix: matrix.slice(0, other).map((row) => row.slice(0, other)) };
}
