import { HubError } from '../errors.ts';
import { actAs } from './acting-user.ts';
import { CopyWriter } from './binary-copy.ts';
import { copyIn } from './copy-in.ts';
import { type ClientBase, type Pool, type Queryable, transaction } from './database.ts';

/** An impact as it is listed. */
export interface StoredImpact {
  impact: number;
  dataset: string;
  candidate: number;
  /** null: it was compared with the predictions that stood in the table. */
  live: number | null;
  /** In words; empty: all images. */
  selection: string;
  /** null: the run was deleted. */
  run: number | null;
  startedBy: string;
  startedAt: Date;
  finishedAt: Date;
}

const SELECT = `
  select impact_no as impact, dataset, candidate_model_id as candidate, live_model_id as live, selection,
         run_id as run, started_by as "startedBy", started_at as "startedAt", finished_at as "finishedAt"`;

/** Records that an impact has begun; it shows when it is finished. What others left behind unfinished goes. */
export async function beginImpact(
  pool: Pool,
  impact: {
    dataset: string;
    run: number;
    candidate: number;
    live: number | null;
    selection: string;
    timeColumn: string;
    bucket: string;
    by?: string | undefined;
  },
): Promise<number> {
  return transaction(pool, async (client) => {
    await actAs(client, impact.by);
    await client.query(
      `delete from imagehub.impacts i where i.dataset = $1 and i.finished_at is null
         and not exists (select from imagehub.runs r where r.id = i.run_id and r.state = 'running')`,
      [impact.dataset],
    );
    const { rows } = await client.query<{ impact: number }>(
      `insert into imagehub.impacts (dataset, run_id, candidate_model_id, live_model_id, selection, time_column, bucket)
       values ($1, $2, $3, $4, $5, $6, $7) returning impact_no as impact`,
      [
        impact.dataset,
        impact.run,
        impact.candidate,
        impact.live,
        impact.selection,
        impact.timeColumn,
        impact.bucket,
      ],
    );
    return rows[0]!.impact;
  });
}

export interface ImpactImage {
  id: string;
  sha256: Uint8Array | null;
  outcome: string;
  knownLabel: number | null;
  live: { prediction: number; confidence: number | null; error: string | null };
  candidate: { prediction: number; confidence: number | null; error: string | null };
  inTraining: boolean;
  /** Milliseconds since 1970. */
  at: number | null;
}

const IMAGE_COLUMNS = [
  'impact_no',
  'id',
  'sha256',
  'outcome',
  'known_label',
  'live_prediction',
  'live_confidence',
  'candidate_prediction',
  'candidate_confidence',
  'in_training',
  'at',
  'error',
];

/** Encodes images for `writeImpactImages`. */
export class ImpactImageWriter {
  readonly #impact: number;
  #out = new CopyWriter();
  #count = 0;

  constructor(impact: number) {
    this.#impact = impact;
  }

  get count(): number {
    return this.#count;
  }

  add({ id, sha256, outcome, knownLabel, live, candidate, inTraining, at }: ImpactImage): void {
    const out = this.#out;
    out.row(IMAGE_COLUMNS.length);
    out.int8(this.#impact);
    out.text(id);
    out.bytea(sha256);
    out.text(outcome);
    out.int4(knownLabel);
    out.int4(live.prediction);
    out.float4(live.confidence);
    out.int4(candidate.prediction);
    out.float4(candidate.confidence);
    out.bool(inTraining);
    out.timestamp(at);
    out.text(candidate.error ?? live.error);
    this.#count++;
  }

  /** What was added since the last call. */
  take(): Uint8Array {
    const bytes = this.#out.bytes();
    this.#out = new CopyWriter();
    this.#count = 0;
    return bytes;
  }
}

/** @throws HubError NOT_FOUND when one of the models was deleted, or the dataset dropped */
async function checkModels(client: ClientBase, impact: number): Promise<void> {
  const { rows } = await client.query<{ model: number; deleted: boolean }>(
    `select m.id as model, m.deleted_at is not null as deleted
     from imagehub.impacts i join imagehub.models m on m.id in (i.candidate_model_id, i.live_model_id)
     where i.impact_no = $1 for share of m`,
    [impact],
  );
  if (rows.length === 0) {
    throw new HubError('NOT_FOUND', 'The dataset was dropped, or the impact deleted, while it was computed.');
  }
  const gone = rows.find(({ deleted }) => deleted);
  if (gone) {
    throw new HubError(
      'NOT_FOUND',
      `Model ${gone.model} was deleted while its impact was computed; nothing of it is kept.`,
      { hint: 'imagehub model list shows the models there are.' },
    );
  }
}

/** Adds images to an impact that is not finished. @throws as checkModels */
export async function writeImpactImages(pool: Pool, impact: number, images: Uint8Array): Promise<void> {
  await transaction(pool, async (client) => {
    await checkModels(client, impact);
    if (images.length > 0) {
      await copyIn(
        client,
        `copy imagehub.impact_images (${IMAGE_COLUMNS.join(', ')}) from stdin (format binary)`,
        images,
      );
    }
  });
}

export interface ImpactCount {
  bucket: number | null;
  knownLabel: number | null;
  live: number;
  candidate: number;
  inTraining: boolean;
  outcome: string;
  images: number;
  liveConfidence: number;
  candidateConfidence: number;
}

/** Writes the counts and the report: from here on the impact shows. @throws as checkModels */
export async function finishImpact(
  client: ClientBase,
  impact: number,
  counts: Iterable<Readonly<ImpactCount>>,
  report: object,
): Promise<void> {
  await checkModels(client, impact);
  const cells = [...counts];
  await client.query(
    `insert into imagehub.impact_counts
       (impact_no, bucket, known_label, live_prediction, candidate_prediction, in_training, outcome, images,
        live_confidence_sum, candidate_confidence_sum)
     select $1, to_timestamp(b / 1000), k, l, c, t, o, n, ls, cs
     from unnest($2::float8[], $3::int[], $4::int[], $5::int[], $6::bool[], $7::text[], $8::bigint[], $9::float8[], $10::float8[])
       as u (b, k, l, c, t, o, n, ls, cs)`,
    [
      impact,
      cells.map(({ bucket }) => bucket),
      cells.map(({ knownLabel }) => knownLabel),
      cells.map(({ live }) => live),
      cells.map(({ candidate }) => candidate),
      cells.map(({ inTraining }) => inTraining),
      cells.map(({ outcome }) => outcome),
      cells.map(({ images }) => images),
      cells.map(({ liveConfidence }) => liveConfidence),
      cells.map(({ candidateConfidence }) => candidateConfidence),
    ],
  );
  await client.query(
    'update imagehub.impacts set report = $2, finished_at = clock_timestamp() where impact_no = $1',
    [impact, JSON.stringify(report)],
  );
}

/** A dataset's finished impacts, newest first. */
export async function listImpacts(db: Queryable, dataset: string): Promise<StoredImpact[]> {
  const { rows } = await db.query<StoredImpact>(
    `${SELECT} from imagehub.impacts where dataset = $1 and finished_at is not null order by impact_no desc`,
    [dataset],
  );
  return rows;
}

/** The report of one. @throws HubError NOT_FOUND */
export async function readImpact(db: Queryable, dataset: string, impact: number): Promise<unknown> {
  const { rows } = await db.query<{ report: unknown }>(
    'select report from imagehub.impacts where impact_no = $1 and dataset = $2 and finished_at is not null',
    [impact, dataset],
  );
  if (rows[0]) return rows[0].report;
  throw noImpact(dataset, impact);
}

/** Deletes an impact with all its images and counts. @throws HubError NOT_FOUND */
export async function deleteImpact(db: Queryable, dataset: string, impact: number): Promise<void> {
  const { rowCount } = await db.query('delete from imagehub.impacts where impact_no = $1 and dataset = $2', [
    impact,
    dataset,
  ]);
  if (rowCount === 0) throw noImpact(dataset, impact);
}

const noImpact = (dataset: string, impact: number): HubError =>
  new HubError('NOT_FOUND', `Dataset ${dataset} has no impact ${impact}.`, {
    hint: `imagehub impact list ${dataset} shows those there are.`,
  });
