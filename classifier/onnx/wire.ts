import protobuf from 'protobufjs/light.js';

/** One field of a protobuf message as it stands in the file. */
export interface WireField {
  number: number;
  /** The field with its tag, to be written again as it is. */
  bytes: Uint8Array;
  /** What a length-delimited field holds (messages, strings, bytes); undefined for numbers. */
  content: Uint8Array | undefined;
}

const LENGTH_DELIMITED = 2;

/**
 * The fields of a message in their order, whatever they mean: a file is changed by writing all of them again but those
 * that change, so that nothing unknown to us is lost. See protobuf.dev/programming-guides/encoding.
 * @throws RangeError, Error when the bytes are no message
 */
export function* wireFields(message: Uint8Array): Generator<WireField> {
  const reader = protobuf.Reader.create(message);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.uint32();
    let content: Uint8Array | undefined;
    if ((tag & 7) === LENGTH_DELIMITED) {
      const length = reader.uint32();
      content = message.subarray(reader.pos, reader.pos + length);
      reader.skip(length);
    } else reader.skipType(tag & 7);
    yield { number: tag >>> 3, bytes: message.subarray(start, reader.pos), content };
  }
}

/** A length-delimited field. */
export function wireField(number: number, content: Uint8Array): Uint8Array[] {
  const head = protobuf.Writer.create()
    .uint32((number << 3) | LENGTH_DELIMITED)
    .uint32(content.length)
    .finish();
  return [head, content];
}

/**
 * A message with some of its fields changed.
 * @param change what stands in a field's place; undefined leaves it as it is, [] removes it
 */
export function rewriteMessage(
  message: Uint8Array,
  change: (field: WireField) => Uint8Array[] | undefined,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (const field of wireFields(message)) parts.push(...(change(field) ?? [field.bytes]));
  return new Uint8Array(Buffer.concat(parts));
}
