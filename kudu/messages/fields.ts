import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/** How a message's known fields are read, by field number. */
export type FieldReaders = Readonly<Record<number, (reader: BinaryReader, type: WireType) => void>>;

/**
 * Reads one protobuf message field by field. Unknown fields are skipped: newer servers may send more than we know.
 * @throws RangeError or Error when the bytes are no protobuf message
 */
export function readFields(bytes: Uint8Array, fields: FieldReaders): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    const read = fields[number];
    if (read) read(reader, type);
    else reader.skip(type, number);
  }
}

/** The value of a field that a message must have. @throws Error when it has none */
export function required<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`the field ${name} is missing`);
  return value;
}

/** Repeated integers as proto2 sends them: one by one, or packed into one field. */
export function readPackable(
  reader: BinaryReader,
  type: WireType,
  read: (from: BinaryReader) => number,
): number[] {
  if (type !== WireType.LengthDelimited) return [read(reader)];
  const packed = new BinaryReader(reader.bytes());
  const values: number[] = [];
  while (packed.pos < packed.len) values.push(read(packed));
  return values;
}

/** What stands before the bytes of a field of so many, where these are not written through a `MessageWriter`. */
export const lengthPrefix = (field: number, length: number): Uint8Array =>
  new BinaryWriter().tag(field, WireType.LengthDelimited).uint32(length).finish();

/** Writes fields one after another; a field whose value is undefined is left out. */
export class MessageWriter {
  readonly #writer = new BinaryWriter();

  /** int32, uint32 and enums */
  int(field: number, value: number | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.Varint).int32(value);
    return this;
  }

  uint(field: number, value: number | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.Varint).uint32(value);
    return this;
  }

  int64(field: number, value: bigint | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.Varint).int64(value);
    return this;
  }

  uint64(field: number, value: bigint | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.Varint).uint64(value);
    return this;
  }

  fixed64(field: number, value: bigint | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.Bit64).fixed64(value);
    return this;
  }

  bool(field: number, value: boolean | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.Varint).bool(value);
    return this;
  }

  string(field: number, value: string | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.LengthDelimited).string(value);
    return this;
  }

  /** bytes, and messages that are encoded already */
  bytes(field: number, value: Uint8Array | undefined): this {
    if (value !== undefined) this.#writer.tag(field, WireType.LengthDelimited).bytes(value);
    return this;
  }

  /** A repeated field of messages or byte strings. */
  all(field: number, values: Iterable<Uint8Array>): this {
    for (const value of values) this.bytes(field, value);
    return this;
  }

  /** A `map<string, string>`. */
  map(field: number, entries: Readonly<Record<string, string>> | undefined): this {
    for (const [key, value] of Object.entries(entries ?? {})) {
      this.bytes(field, new MessageWriter().string(1, key).string(2, value).finish());
    }
    return this;
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}

/** One entry of a `map<string, string>` into `map`. */
export function readEntry(reader: BinaryReader, map: Record<string, string>): void {
  let key = '';
  let value = '';
  readFields(reader.bytes(), {
    1: (field) => (key = field.string()),
    2: (field) => (value = field.string()),
  });
  map[key] = value;
}

/** 64-bit integers come as bigint wherever BigInt is known, which is everywhere we run. */
export const readInt64 = (reader: BinaryReader): bigint => BigInt(reader.int64());
export const readUint64 = (reader: BinaryReader): bigint => BigInt(reader.uint64());
export const readFixed64 = (reader: BinaryReader): bigint => BigInt(reader.fixed64());
