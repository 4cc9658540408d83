import {
  DuckDBArrayValue,
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBListValue,
  DuckDBMapValue,
  type DuckDBResult,
  DuckDBStructValue,
  type DuckDBType,
  DuckDBTypeId,
  type DuckDBValue,
} from '@duckdb/node-api';
import { HubError } from '../errors.ts';
import { duckdbMessage } from './duckdb.ts';
import type { Cell, QueryResult } from './result.ts';

/**
 * Runs a statement; its rows come as they are asked for.
 * @throws HubError QUERY_FAILED, now or between the rows
 */
export async function streamResult(connection: DuckDBConnection, statement: string): Promise<QueryResult> {
  const result = await orFailed(connection.stream(statement));
  const types = result.columnTypes();
  const columns = result
    .columnNames()
    .map((name, index) => ({ name, numeric: NUMERIC.has(types[index]!.typeId) }));
  return { columns, batches: portions(result, types) };
}

async function* portions(result: DuckDBResult, types: DuckDBType[]): AsyncGenerator<Cell[][]> {
  for (let chunk; (chunk = await orFailed(result.fetchChunk())) && chunk.rowCount > 0;)
    yield chunk.getRows().map((row) => row.map((value, index) => cellOf(value, types[index]!.typeId)));
}

const orFailed = <T>(work: Promise<T>): Promise<T> =>
  work.catch((error: unknown) => {
    throw new HubError('QUERY_FAILED', duckdbMessage(error).replaceAll(/\n{2,}/g, '\n'), { cause: error });
  });

const NUMERIC: ReadonlySet<DuckDBTypeId> = new Set([
  DuckDBTypeId.TINYINT,
  DuckDBTypeId.SMALLINT,
  DuckDBTypeId.INTEGER,
  DuckDBTypeId.BIGINT,
  DuckDBTypeId.UTINYINT,
  DuckDBTypeId.USMALLINT,
  DuckDBTypeId.UINTEGER,
  DuckDBTypeId.UBIGINT,
  DuckDBTypeId.HUGEINT,
  DuckDBTypeId.UHUGEINT,
  DuckDBTypeId.FLOAT,
  DuckDBTypeId.DOUBLE,
  DuckDBTypeId.DECIMAL,
]);

function cellOf(value: DuckDBValue, type?: DuckDBTypeId): Cell {
  if (typeof value === 'number') return type === DuckDBTypeId.FLOAT ? shortest(value) : value;
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value;
  if (value instanceof DuckDBBlobValue) return value.bytes;
  if (value instanceof DuckDBListValue || value instanceof DuckDBArrayValue)
    return value.items.map((item) => cellOf(item));
  if (value instanceof DuckDBStructValue)
    return Object.fromEntries(Object.entries(value.entries).map(([name, item]) => [name, cellOf(item)]));
  if (value instanceof DuckDBMapValue)
    return value.entries.map(({ key, value: item }) => ({ key: cellOf(key), value: cellOf(item) }));
  // Decimals, dates and times: as DuckDB writes them.
  return String(value);
}

/** The most digits that tell one number of 32 bits from another. */
const FLOAT_DIGITS = 9;

/** The number with the fewest digits that is this one in 32 bits: 0.1, where its 64 bits would say 0.10000000149011612. */
function shortest(value: number): number {
  for (let digits = 6; digits < FLOAT_DIGITS; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value === 0 || !Number.isFinite(value) ? value : Number(value.toPrecision(FLOAT_DIGITS));
}
