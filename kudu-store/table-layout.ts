/** How a new table is laid out. */
export interface TableLayout {
  /** Hash partitions by id: what can be written and read at once, on as many servers. */
  partitions: number;
  /** On how many servers each is; undefined: as the cluster does. */
  replicas: number | undefined;
}

/** Where nothing else is said. */
export const USUAL_PARTITIONS = 4;
