/** A value of a result, whichever engine gave it: exact numbers beyond 2^53 as bigint, decimals and times as text. */
export type Cell =
  null | boolean | number | bigint | string | Uint8Array | Cell[] | { readonly [name: string]: Cell };

export interface ResultColumn {
  name: string;
  /** Its values are numbers; decimals come as text all the same. */
  numeric: boolean;
}

export interface QueryResult {
  columns: ResultColumn[];
  /** The rows in portions, as they come. */
  batches: AsyncIterable<Cell[][]>;
}

export interface QueryOptions {
  /** Milliseconds that the query may take. */
  timeoutMs?: number | undefined;
  /** Aborted: the query ends with INTERRUPTED. */
  signal?: AbortSignal | undefined;
}
