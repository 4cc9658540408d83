import { POSTGRES_EPOCH_MS } from './binary-copy.ts';

const POSTGRES_EPOCH_MICROSECONDS = BigInt(POSTGRES_EPOCH_MS) * 1000n;
const MAX_INT8 = 2n ** 63n - 1n;
const MIN_INT8 = -(2n ** 63n);

/**
 * Reads rows in COPY's binary format field by field, in the order of their columns. Nothing is checked: the caller knows
 * the statement that the rows come from. Format: see sql/binary-copy.ts.
 */
export class RowReader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = 0;

  constructor({ buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>) {
    this.#bytes = Buffer.from(buffer, byteOffset, byteLength);
    this.#view = new DataView(buffer, byteOffset, byteLength);
  }

  /** Moves on to the next row's first field. @returns false behind the last row. */
  next(): boolean {
    if (this.#at >= this.#view.byteLength) return false;
    this.#at += 2;
    return true;
  }

  /** @returns the field's length; −1: null, and the field is passed. */
  #length(): number {
    const length = this.#view.getInt32(this.#at);
    this.#at += 4;
    return length;
  }

  int4(): number | null {
    if (this.#length() < 0) return null;
    this.#at += 4;
    return this.#view.getInt32(this.#at - 4);
  }

  /** Exact below 2⁵³. */
  int8(): number | null {
    if (this.#length() < 0) return null;
    this.#at += 8;
    return this.#view.getInt32(this.#at - 8) * 2 ** 32 + this.#view.getUint32(this.#at - 4);
  }

  /** All 64 bits. */
  bigint(): bigint | null {
    if (this.#length() < 0) return null;
    this.#at += 8;
    return this.#view.getBigInt64(this.#at - 8);
  }

  /** timestamptz as microseconds since 1970; infinity and −infinity as the largest and the smallest number of 64 bits. */
  microseconds(): bigint | null {
    const since2000 = this.bigint();
    if (since2000 === null || since2000 === MAX_INT8 || since2000 === MIN_INT8) return since2000;
    return since2000 + POSTGRES_EPOCH_MICROSECONDS;
  }

  float4(): number | null {
    if (this.#length() < 0) return null;
    this.#at += 4;
    return this.#view.getFloat32(this.#at - 4);
  }

  float8(): number | null {
    if (this.#length() < 0) return null;
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8);
  }

  /** real[] of one dimension without nulls. */
  float4Array(): Float32Array | null {
    const length = this.#length();
    if (length < 0) return null;
    const end = this.#at + length;
    // Dimensions, flags and element type; then per dimension its length and first index. An empty one has no dimension.
    const count = this.#view.getInt32(this.#at) === 0 ? 0 : this.#view.getInt32(this.#at + 12);
    const values = new Float32Array(count);
    // Each value with its length before it.
    for (let i = 0, at = this.#at + 24; i < count; i++, at += 8) values[i] = this.#view.getFloat32(at);
    this.#at = end;
    return values;
  }

  bool(): boolean | null {
    if (this.#length() < 0) return null;
    this.#at += 1;
    return this.#view.getUint8(this.#at - 1) !== 0;
  }

  text(): string | null {
    const length = this.#length();
    if (length < 0) return null;
    this.#at += length;
    return this.#bytes.toString('utf8', this.#at - length, this.#at);
  }

  /** A view, valid as long as the rows' memory. */
  bytea(): Buffer | null {
    const length = this.#length();
    if (length < 0) return null;
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  /** Text of ASCII characters alone. */
  ascii(): string | null {
    const length = this.#length();
    if (length < 0) return null;
    this.#at += length;
    return this.#bytes.toString('latin1', this.#at - length, this.#at);
  }

  /** text[] of one dimension without nulls, of ASCII characters. */
  asciiArray(): string[] | null {
    const length = this.#length();
    if (length < 0) return null;
    const end = this.#at + length;
    const values: string[] = [];
    // As for float4Array; an empty one ends behind the element type.
    for (this.#at += 20; this.#at < end;) values.push(this.ascii()!);
    this.#at = end;
    return values;
  }

  /** jsonb as its text; a version byte comes first. */
  jsonb(): string | null {
    const length = this.#length();
    if (length < 0) return null;
    this.#at += length;
    return this.#bytes.toString('utf8', this.#at - length + 1, this.#at);
  }

  /** Text that is base64, decoded. */
  base64(): Buffer | null {
    const length = this.#length();
    if (length < 0) return null;
    this.#at += length;
    return Buffer.from(this.#bytes.toString('latin1', this.#at - length, this.#at), 'base64');
  }
}
