import { MessageWriter } from './fields.ts';

/*
 * common/common.proto
 *   ColumnPredicatePB { string column = 1;
 *                       oneof: Range range = 2; Equality equality = 3; IsNotNull is_not_null = 4; InList in_list = 5;
 *                              IsNull is_null = 6 }
 *   Range             { bytes lower = 1; bytes upper = 2 }
 *   Equality          { bytes value = 1 }
 *   InList            { repeated bytes values = 1 }
 *   IsNotNull         { }
 *   IsNull            { }
 */
export type ColumnPredicateMessage = { column: string } & (
  | { kind: 'null' | 'not null' }
  /** At least one. */
  | { kind: 'in'; values: readonly Uint8Array[] }
  /** From `lower` on, up to and without `upper`. */
  | { kind: 'range'; lower: Uint8Array | undefined; upper: Uint8Array | undefined }
);

export function encodeColumnPredicate(predicate: ColumnPredicateMessage): Uint8Array {
  const writer = new MessageWriter().string(1, predicate.column);
  switch (predicate.kind) {
    case 'range': {
      const range = new MessageWriter().bytes(1, predicate.lower).bytes(2, predicate.upper);
      return writer.bytes(2, range.finish()).finish();
    }
    case 'in': {
      const values = new MessageWriter().all(1, predicate.values).finish();
      return writer.bytes(predicate.values.length === 1 ? 3 : 5, values).finish();
    }
    case 'not null':
      return writer.bytes(4, new Uint8Array()).finish();
    case 'null':
      return writer.bytes(6, new Uint8Array()).finish();
  }
}
