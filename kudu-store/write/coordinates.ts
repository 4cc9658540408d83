/** Where a message lies, and its time: what two messages about one image are ordered by. */
export interface Coordinates {
  topic: string;
  partition: number;
  epoch: number;
  offset: number;
  /** Microseconds since 1970, as both stores keep times. */
  micros: bigint;
}

/**
 * Which of two messages for one image is newer: within one partition of one epoch the offset says; else the Kafka timestamp,
 * then partition and offset. The same as imagehub.is_newer in SQL (sql/migrations/0001_image_table.sql); a test compares them.
 * @param old null: no message wrote that, which is older than any message
 */
export function isNewer(message: Coordinates, old: Coordinates | null): boolean {
  if (old === null) return true;
  if (message.topic === old.topic && message.partition === old.partition && message.epoch === old.epoch)
    return message.offset > old.offset;
  if (message.micros !== old.micros) return message.micros > old.micros;
  if (message.partition !== old.partition) return message.partition > old.partition;
  return message.offset > old.offset;
}

/** Whether both are of the same message. */
export const isSame = (a: Coordinates, b: Coordinates): boolean =>
  a.topic === b.topic && a.partition === b.partition && a.epoch === b.epoch && a.offset === b.offset;
