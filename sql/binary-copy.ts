/**
 * PostgreSQL's binary COPY format: a header, then per row an int16 field count and per field an int32 length
 * (−1: null) and the value as its type's `recv` function reads it, then an int16 −1.
 * https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
 */
export const COPY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
export const COPY_TRAILER = Buffer.from([0xff, 0xff]);

/** Milliseconds from 1970 to 2000, where PostgreSQL's timestamps begin. */
export const POSTGRES_EPOCH_MS = 946_684_800_000;
const POSTGRES_EPOCH_MICROSECONDS = BigInt(POSTGRES_EPOCH_MS) * 1000n;
/** As numbers: infinity and −infinity. */
const INFINITE = [2n ** 63n - 1n, -(2n ** 63n)];
const FLOAT4_OID = 700;
const TEXT_OID = 25;

/** Writes the fields of a row, in order; null for null and undefined. How they are encoded is the writer's matter. */
export interface FieldWriter {
  bool(value: boolean | null | undefined): void;
  int4(value: number | null | undefined): void;
  int8(value: bigint | number | null | undefined): void;
  float4(value: number | null | undefined): void;
  float8(value: number | null | undefined): void;
  float4Array(values: Float32Array | null): void;
  /** Of texts of ASCII characters. */
  asciiArray(values: readonly string[] | null): void;
  /** Bytes: a header and what follows it. */
  byteaOfTwo(header: Uint8Array, body: Uint8Array): void;
  text(value: string | null | undefined): void;
  /** Bytes, given as the characters (0–255) of a string. */
  latin1(value: string | null): void;
  /** The base64 of the bytes, as text. */
  base64(value: Buffer): void;
  /** A document. */
  jsonb(value: unknown): void;
  /** A moment. */
  timestamp(milliseconds: number | null | undefined): void;
}

/** Writes rows into one growing buffer. Strings must not hold NUL; the caller has checked. */
export class CopyWriter implements FieldWriter {
  #buffer: Buffer;
  // A view writes numbers without a call; Buffer's own methods take nine times as long.
  #view: DataView;
  #length = 0;

  /** @param memory to write into, or how many bytes of it to take; more is taken when it is full. */
  constructor(memory: ArrayBuffer | number = 1 << 20) {
    this.#buffer = typeof memory === 'number' ? Buffer.allocUnsafeSlow(memory) : Buffer.from(memory);
    this.#view = viewOf(this.#buffer);
  }

  get length(): number {
    return this.#length;
  }

  /** The bytes written so far, without header and trailer; a view on the writer's own memory. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length) as Uint8Array<ArrayBuffer>;
  }

  /** As `bytes`, but in memory of their own, just as much as they need; the writer begins anew. */
  take(): Uint8Array<ArrayBuffer> {
    const taken = new Uint8Array(this.bytes());
    this.#length = 0;
    return taken;
  }

  #grow(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
      this.#view = viewOf(larger);
    }
    return at;
  }

  row(fields: number): void {
    const at = this.#grow(2); // first: it may replace the buffer
    this.#view.setInt16(at, fields);
  }

  null(): void {
    const at = this.#grow(4);
    this.#view.setInt32(at, -1);
  }

  bool(value: boolean | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(5);
    this.#view.setInt32(at, 1);
    this.#view.setUint8(at + 4, Number(value));
  }

  int4(value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(8);
    this.#view.setInt32(at, 4);
    this.#view.setInt32(at + 4, value);
  }

  int8(value: bigint | number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(12);
    this.#view.setInt32(at, 8);
    if (typeof value === 'bigint' || !Number.isSafeInteger(value)) {
      this.#view.setBigInt64(at + 4, BigInt(value));
    } else {
      this.#view.setInt32(at + 4, Math.floor(value / 2 ** 32));
      this.#view.setUint32(at + 8, value >>> 0);
    }
  }

  float4(value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(8);
    this.#view.setInt32(at, 4);
    this.#view.setFloat32(at + 4, value);
  }

  float8(value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(12);
    this.#view.setInt32(at, 8);
    this.#view.setFloat64(at + 4, value);
  }

  /** real[]: one dimension, no nulls, indexes from 1. */
  float4Array(values: Float32Array | null): void {
    if (values === null) return this.null();
    const at = this.#grow(4 + 20 + values.length * 8);
    const view = this.#view;
    view.setInt32(at, 20 + values.length * 8);
    view.setInt32(at + 4, 1);
    view.setInt32(at + 8, 0);
    view.setInt32(at + 12, FLOAT4_OID);
    view.setInt32(at + 16, values.length);
    view.setInt32(at + 20, 1);
    for (let i = 0, to = at + 24; i < values.length; i++, to += 8) {
      view.setInt32(to, 4);
      view.setFloat32(to + 4, values[i]!);
    }
  }

  /** text[]: one dimension, no nulls, indexes from 1; of texts of ASCII characters. An empty list is an array without dimensions. */
  asciiArray(values: readonly string[] | null): void {
    if (values === null) return this.null();
    let bytes = values.length === 0 ? 12 : 20;
    for (const value of values) bytes += 4 + value.length;
    const at = this.#grow(4 + bytes);
    const view = this.#view;
    view.setInt32(at, bytes);
    view.setInt32(at + 4, values.length === 0 ? 0 : 1);
    view.setInt32(at + 8, 0);
    view.setInt32(at + 12, TEXT_OID);
    if (values.length === 0) return;
    view.setInt32(at + 16, values.length);
    view.setInt32(at + 20, 1);
    let to = at + 24;
    for (const value of values) {
      view.setInt32(to, value.length);
      to += 4;
      for (let i = 0; i < value.length; i++) this.#buffer[to++] = value.charCodeAt(i);
    }
  }

  bytea(value: Uint8Array | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(4 + value.length);
    this.#view.setInt32(at, value.length);
    this.#buffer.set(value, at + 4);
  }

  /** A header and what follows it, as one value. */
  byteaOfTwo(header: Uint8Array, body: Uint8Array): void {
    const at = this.#grow(4 + header.length + body.length);
    this.#view.setInt32(at, header.length + body.length);
    this.#buffer.set(header, at + 4);
    this.#buffer.set(body, at + 4 + header.length);
  }

  text(value: string | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const bytes = Buffer.byteLength(value);
    const at = this.#grow(4 + bytes);
    this.#view.setInt32(at, bytes);
    this.#buffer.write(value, at + 4, bytes, 'utf8');
  }

  /** A bytea whose bytes are the characters (0–255) of the string; null for null. */
  latin1(value: string | null): void {
    if (value === null) return this.null();
    const at = this.#grow(4 + value.length);
    this.#view.setInt32(at, value.length);
    this.#buffer.write(value, at + 4, value.length, 'latin1');
  }

  /** The base64 of the bytes, as text. */
  base64(value: Buffer): void {
    this.latin1(value.toString('base64'));
  }

  /** jsonb: a version byte (1), then the text. */
  jsonb(value: unknown): void {
    if (value === null || value === undefined) return this.null();
    this.jsonbText(JSON.stringify(value));
  }

  /** jsonb, of its text. */
  jsonbText(text: string): void {
    const bytes = Buffer.byteLength(text);
    const at = this.#grow(5 + bytes);
    this.#view.setInt32(at, bytes + 1);
    this.#view.setUint8(at + 4, 1);
    this.#buffer.write(text, at + 5, 'utf8');
  }

  /** timestamptz, of microseconds since 1970; the largest and the smallest number of 64 bits as infinity and −infinity. */
  microseconds(value: bigint | null): void {
    if (value === null || INFINITE.includes(value)) return this.int8(value);
    this.int8(value - POSTGRES_EPOCH_MICROSECONDS);
  }

  /** timestamptz: microseconds since 2000-01-01 UTC. */
  timestamp(milliseconds: number | null | undefined): void {
    if (milliseconds === null || milliseconds === undefined) return this.null();
    const microseconds = Math.round((milliseconds - POSTGRES_EPOCH_MS) * 1000);
    // Past the year 2285 the product is no whole number of microseconds any more.
    this.int8(
      Number.isSafeInteger(microseconds)
        ? microseconds
        : BigInt(Math.round(milliseconds - POSTGRES_EPOCH_MS)) * 1000n,
    );
  }
}

const viewOf = ({ buffer, byteOffset, byteLength }: Buffer): DataView =>
  new DataView(buffer, byteOffset, byteLength);
