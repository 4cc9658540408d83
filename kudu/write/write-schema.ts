import { columnReference } from '../client/column-message.ts';
import { encodeSchema } from '../messages/schema.ts';
import type { Schema } from '../schema/schema.ts';

const encoded = new WeakMap<Schema, Uint8Array>();

/** The columns of a write, as its request names them: a SchemaPB. Made once, which saves more than the request's other parts take. */
export function writeSchema(schema: Schema): Uint8Array {
  let bytes = encoded.get(schema);
  if (!bytes) encoded.set(schema, (bytes = encodeSchema(schema.columns.map(columnReference))));
  return bytes;
}
