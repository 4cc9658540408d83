import { DuckDBInstance, type DuckDBConnection } from '@duckdb/node-api';
import type { Column } from '../kudu/schema/column.ts';

/** A DuckDB in memory that reads and writes no file and loads no extension: it sees what it is given, nothing else. */
export async function openDuckDB(): Promise<DuckDBConnection & Disposable> {
  const instance = await DuckDBInstance.create(':memory:', {
    enable_external_access: 'false',
    autoinstall_known_extensions: 'false',
    autoload_known_extensions: 'false',
  });
  const connection = await instance.connect();
  await connection.run("set timezone = 'UTC'");
  return Object.assign(connection, {
    [Symbol.dispose]() {
      connection.closeSync();
      instance.closeSync();
    },
  });
}

export const quoteName = (name: string): string => `"${name.replaceAll('"', '""')}"`;
export const quoteText = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** What a Kudu column is in DuckDB; `Timestamp` in Arrow's UTC is the one with a zone there. */
export function duckdbType({ type, precision, scale }: Column): string {
  switch (type) {
    case 'INT8':
      return 'TINYINT';
    case 'INT16':
      return 'SMALLINT';
    case 'INT32':
      return 'INTEGER';
    case 'INT64':
      return 'BIGINT';
    case 'FLOAT':
      return 'FLOAT';
    case 'DOUBLE':
      return 'DOUBLE';
    case 'BOOL':
    case 'IS_DELETED':
      return 'BOOLEAN';
    case 'STRING':
    case 'VARCHAR':
      return 'VARCHAR';
    case 'BINARY':
      return 'BLOB';
    case 'DATE':
      return 'DATE';
    case 'UNIXTIME_MICROS':
      return 'TIMESTAMP WITH TIME ZONE';
    case 'DECIMAL32':
    case 'DECIMAL64':
    case 'DECIMAL128':
      return `DECIMAL(${precision},${scale})`;
  }
}

/** What DuckDB says of an error; its errors are not always instances of this realm's Error. */
export const duckdbMessage = (error: unknown): string =>
  String((error as { message?: unknown } | null)?.message ?? error);
