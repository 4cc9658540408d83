/**
 * PostgreSQL's binary COPY format: a header, then per row an int16 field count and per field an int32 length
 * (−1: null) and the value as its type's `recv` function reads it, then an int16 −1.
 * https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
 */
export const COPY_HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
export const COPY_TRAILER = Buffer.from([0xff, 0xff]);

/** Milliseconds from 1970 to 2000, where PostgreSQL's timestamps begin. */
const POSTGRES_EPOCH_MS = 946_684_800_000;
const FLOAT4_OID = 700;

/** Writes rows into one growing buffer. Strings must not hold NUL; the caller has checked. */
export class CopyWriter {
  #buffer: Buffer;
  #length = 0;

  constructor(capacity = 1 << 20) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** The bytes written so far, without header and trailer; a view on the writer's own memory. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#length) as Uint8Array<ArrayBuffer>;
  }

  #grow(bytes: number): number {
    const at = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, at);
      this.#buffer = larger;
    }
    return at;
  }

  row(fields: number): void {
    const at = this.#grow(2); // first: it may replace the buffer
    this.#buffer.writeInt16BE(fields, at);
  }

  null(): void {
    const at = this.#grow(4);
    this.#buffer.writeInt32BE(-1, at);
  }

  int4(value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(8);
    this.#buffer.writeInt32BE(4, at);
    this.#buffer.writeInt32BE(value, at + 4);
  }

  int8(value: bigint | number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(12);
    this.#buffer.writeInt32BE(8, at);
    this.#buffer.writeBigInt64BE(BigInt(value), at + 4);
  }

  float4(value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(8);
    this.#buffer.writeInt32BE(4, at);
    this.#buffer.writeFloatBE(value, at + 4);
  }

  float8(value: number | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(12);
    this.#buffer.writeInt32BE(8, at);
    this.#buffer.writeDoubleBE(value, at + 4);
  }

  /** real[]: one dimension, no nulls, indexes from 1. */
  float4Array(values: Float32Array | null): void {
    if (values === null) return this.null();
    const at = this.#grow(4 + 20 + values.length * 8);
    const buffer = this.#buffer;
    buffer.writeInt32BE(20 + values.length * 8, at);
    buffer.writeInt32BE(1, at + 4);
    buffer.writeInt32BE(0, at + 8);
    buffer.writeInt32BE(FLOAT4_OID, at + 12);
    buffer.writeInt32BE(values.length, at + 16);
    buffer.writeInt32BE(1, at + 20);
    for (let i = 0, to = at + 24; i < values.length; i++, to += 8) {
      buffer.writeInt32BE(4, to);
      buffer.writeFloatBE(values[i]!, to + 4);
    }
  }

  bytea(value: Uint8Array | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const at = this.#grow(4 + value.length);
    this.#buffer.writeInt32BE(value.length, at);
    this.#buffer.set(value, at + 4);
  }

  text(value: string | null | undefined): void {
    if (value === null || value === undefined) return this.null();
    const bytes = Buffer.byteLength(value);
    const at = this.#grow(4 + bytes);
    this.#buffer.writeInt32BE(bytes, at);
    this.#buffer.write(value, at + 4, 'utf8');
  }

  /** The base64 of the bytes, as text. */
  base64(value: Buffer): void {
    const length = Math.ceil(value.length / 3) * 4;
    const at = this.#grow(4 + length);
    this.#buffer.writeInt32BE(length, at);
    this.#buffer.write(value.toString('base64'), at + 4, 'latin1');
  }

  /** jsonb: a version byte (1), then the text. */
  jsonb(value: unknown): void {
    if (value === null || value === undefined) return this.null();
    const text = JSON.stringify(value);
    const bytes = Buffer.byteLength(text);
    const at = this.#grow(5 + bytes);
    this.#buffer.writeInt32BE(bytes + 1, at);
    this.#buffer[at + 4] = 1;
    this.#buffer.write(text, at + 5, 'utf8');
  }

  /** timestamptz: microseconds since 2000-01-01 UTC. */
  timestamp(milliseconds: number | null | undefined): void {
    if (milliseconds === null || milliseconds === undefined) return this.null();
    this.int8(BigInt(Math.round((milliseconds - POSTGRES_EPOCH_MS) * 1000)));
  }
}
