import type { Where } from '../../kudu/index.ts';
import { type ChunkLimits, copyOut, type RowChunk } from '../../sql/copy-out.ts';
import type { Pool, Queryable } from '../../sql/database.ts';
import { RowReader } from '../../sql/binary-rows.ts';
import { checkCondition, selectionError } from '../../sql/selection.ts';
import {
  type ImagesInSql,
  type ImageTally,
  queryBy,
  type SqlRequest,
  type StoredImages,
  type StoredRowsRequest,
} from '../../sql/stored-images.ts';
import { chooseRows, countRows, rowsSql } from '../../sql/stored-rows.ts';
import { type HeldSnapshot, holdSnapshot, streamSnapshot } from '../../sql/stream-snapshot.ts';
import type { KuduConnection } from '../connection.ts';
import { countImages, tallyImages } from './count-images.ts';
import { GoneRows } from './gone-rows.ts';
import { readInOrder, readRows, scanOf, type TableSnapshot } from './read-rows.ts';
import { stageImages, whereOf } from './staged-images.ts';
import { kuduProblem, openOurs, readStoreTable } from '../table.ts';

/** Ids of one scan. */
const IDS_AT_ONCE = { rows: 2000, bytes: 1024 * 1024 };
/** Of so many images the size is averaged. */
const SAMPLE = 1000;

/**
 * Reads images from the dataset's table. What is to be selected in SQL is selected in Postgres, from few columns that are put
 * there first; then the rows are read by their ids. Ids are in the order of their bytes.
 */
export class KuduImages implements StoredImages {
  readonly #connection: KuduConnection;
  readonly query: StoredImages['query'] = queryBy((...request) => this.stream(...request));

  constructor(connection: KuduConnection) {
    this.#connection = connection;
  }

  async *rows(pool: Pool, request: StoredRowsRequest, limits: ChunkLimits): AsyncGenerator<RowChunk> {
    if (needsSql(request)) yield* this.#selectedRows(pool, request, limits);
    else yield* this.#allRows(pool, request, limits);
  }

  /** Without Postgres. */
  async *#allRows(pool: Pool, request: StoredRowsRequest, limits: ChunkLimits): AsyncGenerator<RowChunk> {
    try {
      const snapshot = await this.#snapshot(pool, request.dataset, request.snapshot);
      if (request.counted) {
        const { dataset, selection } = request;
        request.counted(await countImages(snapshot, whereOf({ dataset, selection })));
      }
      yield* readRows(snapshot, request.columns, [whereOf(request)], limits);
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async *#selectedRows(
    pool: Pool,
    request: StoredRowsRequest,
    limits: ChunkLimits,
  ): AsyncGenerator<RowChunk> {
    const { condition, columns, order = 'id', counted, choose } = request;
    const staged: SqlRequest = {
      ...request,
      columns: [],
      conditions: condition === undefined ? [] : [condition],
      // All are counted, or looked at.
      ...((counted ?? choose) && { from: undefined, before: undefined, through: undefined }),
    };
    yield* this.#staged(pool, staged, async function* (client, images, snapshot) {
      await countRows(client, images, request);
      const chosen = await chooseRows(client, images, request);
      const sql = rowsSql(images, { ...chosen, order: order === 'any' ? 'id' : order }, 'i.id');
      const groups = idGroups(copyOut(client, sql, IDS_AT_ONCE));
      if (order === 'length') yield* readInOrder(snapshot, columns, groups, limits);
      else yield* readRows(snapshot, columns, wheres(groups), limits);
    });
  }

  stream<T>(pool: Pool, request: SqlRequest, read: Parameters<StoredImages['stream']>[2]): AsyncGenerator<T> {
    return this.#staged(pool, request, (client, images) => read(client, images) as AsyncIterable<T>);
  }

  async *#staged<T>(
    pool: Pool,
    request: SqlRequest,
    read: (
      client: Parameters<Parameters<StoredImages['stream']>[2]>[0],
      images: ImagesInSql,
      snapshot: TableSnapshot,
    ) => AsyncIterable<T>,
  ): AsyncGenerator<T> {
    const { dataset, selection, option } = request;
    try {
      const snapshot = await this.#snapshot(pool, dataset, request.snapshot);
      let images: ImagesInSql;
      yield* streamSnapshot(
        pool,
        async function* (client) {
          await checkCondition(client, images, selection, option);
          yield* read(client, images, snapshot);
        },
        request.snapshot,
        async (client) => {
          images = await stageImages(client, snapshot, request);
          await request.prepare?.(client, images);
        },
      );
    } catch (error) {
      throw selectionError(kuduProblem(error), dataset, selection ?? {}, option);
    }
  }

  async tally(db: Queryable, dataset: string): Promise<ImageTally[]> {
    try {
      return await tallyImages(await this.#snapshot(db, dataset));
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async reduced(db: Queryable, dataset: string): Promise<number> {
    try {
      const snapshot = await this.#snapshot(db, dataset);
      // A table that an earlier version made gets the column with its next write.
      if (!snapshot.table.schema.has('reduced_width')) return 0;
      return await countImages(snapshot, { reduced_width: { isNull: false } });
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async hold(pool: Pool, dataset: string): Promise<HeldSnapshot> {
    try {
      const snapshot = await this.#snapshot(pool, dataset);
      const scan = scanOf(snapshot, [], {}, { limit: 1 });
      for await (const _ of scan);
      snapshot.at = scan.snapshot;
      return Object.assign(await holdSnapshot(pool), { inStore: snapshot });
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async imageBytes(pool: Pool, dataset: string): Promise<number | null> {
    try {
      let [images, bytes] = [0, 0];
      const scan = scanOf(await this.#snapshot(pool, dataset), ['byte_size'], {}, { limit: SAMPLE });
      for await (const { byte_size: size } of scan.rows()) {
        images++;
        bytes += Number(size);
      }
      // Base64 has four characters for three bytes.
      return images === 0 ? null : (bytes / images / 3) * 4;
    } catch (error) {
      throw kuduProblem(error);
    }
  }

  async #snapshot(db: Queryable, dataset: string, held?: HeldSnapshot): Promise<TableSnapshot> {
    // Made by `hold`.
    if (held) return held.inStore as TableSnapshot;
    const table = await openOurs(await this.#connection.client(), await readStoreTable(db, dataset));
    return { table, at: undefined, gone: await GoneRows.read(db, dataset) };
  }
}

/** What is more than a range of ids and of times. */
function needsSql({ selection = {}, condition, order, after, limit, choose }: StoredRowsRequest): boolean {
  const { where, sample, condition: narrower } = selection;
  const asked = [where, sample, narrower, condition, after, limit, choose];
  return order === 'length' || asked.some((each) => each !== undefined && each !== null);
}

async function* idGroups(chunks: AsyncIterable<RowChunk>): AsyncGenerator<string[]> {
  for await (const { bytes } of chunks) {
    const ids: string[] = [];
    const reader = new RowReader(bytes);
    while (reader.next()) ids.push(reader.text()!);
    yield ids;
  }
}

async function* wheres(groups: AsyncIterable<string[]>): AsyncGenerator<Where> {
  for await (const ids of groups) yield { id: { in: ids } };
}
