import type { Pool } from '../sql/database.ts';
import type { FindRows } from '../sql/untraced.ts';
import { KuduConnection } from './connection.ts';
import { readStored } from './write/stored-rows.ts';
import { kuduProblem, openOurs, readStoreTable } from './table.ts';

/** Finds the messages that rows in Kudu come from. Close it with `using`. @param masters null: none are known */
export function openRowPlaces(
  pool: Pool,
  masters: string[] | null,
  dataset: string,
): Disposable & { find: FindRows } {
  const connection = new KuduConnection(masters);
  const open = async () => openOurs(await connection.client(), await readStoreTable(pool, dataset));
  let table: ReturnType<typeof open> | undefined;
  return {
    async find(ids) {
      try {
        const stored = await readStored(await (table ??= open()), ids);
        return [...stored].map(([id, { at }]) => ({ ...at, id, timestamp: Number(at.micros) / 1000 }));
      } catch (error) {
        throw kuduProblem(error);
      }
    },
    [Symbol.dispose]: () => connection[Symbol.dispose](),
  };
}
