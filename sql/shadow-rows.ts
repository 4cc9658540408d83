import type { ClientBase } from 'pg';
import { errorText } from '../errors.ts';
import { CopyWriter } from './binary-copy.ts';
import { copyIn } from './copy-in.ts';
import { errorCode, isDataError } from './database.ts';
import type { EncodedRows } from './encoded-rows.ts';
import { addOne, type SomeImages } from './some-images.ts';
import type { Verdict } from './backlog.ts';

/** What the shadow says about a batch's rows, for `imagehub.predictions`. */
export interface ShadowBatch {
  model: number;
  /** One for each row of the batch, in the same order. */
  rows: EncodedRows;
  /** How many of them say that the shadow failed, and why the first one did. */
  failed: SomeImages | null;
}

/** What became of them. */
export interface ShadowOutcome {
  written: number;
  /** Why the database took none of them; the images are written all the same. */
  refused: string | null;
}

interface PredictionColumn {
  name: string;
  type: string;
}

/** The columns that predictions are encoded with, in that order. */
const COLUMNS: PredictionColumn[] = [
  { name: 'model_id', type: 'bigint' },
  { name: 'id', type: 'text' },
  { name: 'sha256', type: 'bytea' },
  { name: 'prediction', type: 'int' },
  { name: 'confidence', type: 'real' },
  { name: 'scores', type: 'real[]' },
  { name: 'error', type: 'text' },
  { name: 'predicted_at', type: 'timestamptz' },
  { name: 'source', type: 'text' },
];
const names = COLUMNS.map(({ name }) => name).join(', ');

/** About one image: 70 bytes of text and numbers, and up to some dozens of scores. */
const BYTES_PER_ROW = 256;

/** Encodes what a shadow says in COPY's binary format, row by row. */
export class ShadowWriter {
  readonly #model: number;
  readonly #out: CopyWriter;
  readonly #ends: number[] = [];
  #failed: ShadowBatch['failed'] = null;

  /** @param images how many are expected */
  constructor(model: number, images: number) {
    this.#model = model;
    this.#out = new CopyWriter(Math.max(1, images) * BYTES_PER_ROW);
  }

  /**
   * @param sha256 of the image's bytes, as 32 characters of 0–255; null where the dataset keeps no hash
   * @param predictedAt milliseconds since 1970
   */
  add(id: string, sha256: string | null, verdict: Verdict, predictedAt: number): void {
    const out = this.#out;
    out.row(COLUMNS.length);
    out.int8(this.#model);
    out.text(id);
    out.latin1(sha256);
    out.int4(verdict.prediction);
    out.float4(verdict.confidence);
    out.float4Array(verdict.scores);
    out.text(verdict.error);
    out.timestamp(predictedAt);
    out.latin1('shadow');
    this.#ends.push(out.length);
    if (verdict.error !== null) this.#failed = addOne(this.#failed, verdict.error);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#out.bytes();
  }

  /** Where each row ends in the bytes. */
  get ends(): Uint32Array<ArrayBuffer> {
    return Uint32Array.from(this.#ends);
  }

  get failed(): ShadowBatch['failed'] {
    return this.#failed;
  }
}

const staged = new WeakSet<ClientBase>();

/** Gives the connection its staging table for predictions, once; outside a transaction. */
export async function stagePredictions(client: ClientBase): Promise<void> {
  if (staged.has(client)) return;
  const columns = COLUMNS.map(({ name, type }) => `${name} ${type}`).join(', ');
  await client.query(`create temp table if not exists staged_predictions (${columns}) on commit delete rows`);
  staged.add(client);
}

/** Whether the shadow's own fault, or its partition's, and no reason to keep images from being written. */
const isShadowsFault = (error: unknown): boolean =>
  isDataError(error) || errorCode(error)?.startsWith('42') === true;

/**
 * Writes the shadow's predictions of the rows that were written, in the transaction that wrote them; newer ones replace
 * those of the image's earlier bytes. What the database refuses is told and left out: the images do not depend on it.
 * @param written ids of the batch's rows that were really written
 * @param allNew whether these are all of its rows, and none was there before
 * @throws for any other failure: the transaction is to be rolled back
 */
export async function writeShadow(
  client: ClientBase,
  { model, rows }: ShadowBatch,
  written: readonly string[],
  allNew: boolean,
): Promise<ShadowOutcome> {
  if (written.length === 0) return { written: 0, refused: null };
  const partition = `imagehub.predictions_${model}`;
  await client.query('savepoint shadow');
  try {
    if (!(allNew && (await copyAllNew(client, partition, rows)))) {
      await copyIn(client, `copy staged_predictions (${names}) from stdin (format binary)`, rows.bytes);
      await client.query({
        name: `shadow-${model}`,
        text: mergeStaged(partition),
        values: [written],
      });
    }
    await client.query('release shadow');
    return { written: written.length, refused: null };
  } catch (error) {
    if (!isShadowsFault(error)) throw error;
    await client.query('rollback to shadow; release shadow');
    return { written: 0, refused: errorText(error) };
  }
}

/**
 * COPY straight into the partition. @returns false, with nothing written, when an image that is new had been predicted
 * before: it was deleted since, or the model was applied to the rows of a dataset of the same ids.
 */
async function copyAllNew(client: ClientBase, partition: string, rows: EncodedRows): Promise<boolean> {
  try {
    await copyIn(client, `copy ${partition} (${names}) from stdin (format binary)`, rows.bytes);
    return true;
  } catch (error) {
    if (!isDataError(error)) throw error;
    await client.query('rollback to shadow');
    return false;
  }
}

const mergeStaged = (partition: string): string => `
insert into ${partition} (${names})
select ${names} from staged_predictions where id = any($1) order by id
on conflict (model_id, id) do update set
  ${COLUMNS.slice(2)
    .map(({ name }) => `${name} = excluded.${name}`)
    .join(', ')}`;
