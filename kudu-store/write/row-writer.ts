// Not by way of the client's index, which would load all of the client, and Arrow, in every worker thread.
import { RowEncoder } from '../../kudu/encoding/row-encoder.ts';
import type { HashSchema } from '../../kudu/partition/partition-schema.ts';
import { RowBucketer } from '../../kudu/partition/row-buckets.ts';
import type { FieldWriter } from '../../sql/binary-copy.ts';
import type { RowWriter } from '../../sql/row-writer.ts';
import { type ImageRow, writeColumns } from '../../sql/staged-rows.ts';
import { ROW_SCHEMA } from '../columns.ts';
import type { KuduArrangedRows } from './arranged-rows.ts';
import { floatsTextBytes, writeFloats } from './float-text.ts';

/** Of most rows; the encoder takes more when it is not enough. */
const ROW_BYTES = 16 * 1024;

const [OPEN, CLOSE, COMMA, QUOTE] = [...Buffer.from('[],"', 'latin1')] as [number, number, number, number];

/** Encodes rows for Kudu, in a worker thread; columns that messages do not fill are set too, so that an update is of all. */
export class KuduRowWriter implements RowWriter, FieldWriter {
  readonly #encoder: RowEncoder;
  /** null: the rows stay in the encoder. */
  readonly #bucketer: RowBucketer | null;
  #unclassified = false;
  /** The column that is written next. */
  #column = 0;

  /** @param memory to write into, or how many bytes of it to take; or how to put the rows together, one by one, and memory for that */
  constructor(memory: ArrayBuffer | number | { hash: HashSchema; memory: ArrayBuffer[] }) {
    const isLoose = typeof memory === 'number' || memory instanceof ArrayBuffer;
    this.#encoder = new RowEncoder(ROW_SCHEMA, isLoose ? memory : ROW_BYTES);
    this.#bucketer = isLoose ? null : new RowBucketer(ROW_SCHEMA, memory.hash, memory.memory);
  }

  /** In the order of `rowSchema`. */
  add(row: ImageRow): void {
    this.#encoder.begin();
    this.#column = 0;
    this.text(row.id);
    // What is put in when the row is written: revision, ingested_at, inserted.
    this.int8(0);
    this.int8(0);
    this.bool(true);
    writeColumns(this, row);
    // A person's: labelled_by, labelled_at.
    this.text(null);
    this.int8(null);
    this.int4(row.reduced && row.reduced.width);
    this.int4(row.reduced && row.reduced.height);
    const encoded = this.#encoder.end();
    if (row.prediction < 0) this.#unclassified = true;
    if (!this.#bucketer) return;
    this.#bucketer.add(encoded);
    this.#encoder.clear();
  }

  arranged(): KuduArrangedRows | null {
    const buckets = this.#bucketer?.finish();
    if (!buckets) return null;
    const { largestCell } = this.#encoder;
    return { memory: buckets.memory, free: true, buckets, largestCell, unclassified: this.#unclassified };
  }

  get length(): number {
    return this.#encoder.length;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return this.#encoder.bytes();
  }

  bool(value: boolean | null | undefined): void {
    this.#encoder.bool(this.#column++, value);
  }

  int4(value: number | null | undefined): void {
    this.#encoder.int32(this.#column++, value);
  }

  int8(value: bigint | number | null | undefined): void {
    this.#encoder.int64(this.#column++, value);
  }

  float4(value: number | null | undefined): void {
    this.#encoder.float(this.#column++, value);
  }

  float8(value: number | null | undefined): void {
    this.#encoder.double(this.#column++, value);
  }

  /** Kudu has no lists and documents: they are JSON there. */
  float4Array(values: Float32Array | null): void {
    if (values === null) return this.#encoder.null(this.#column++);
    this.#encoder.write(this.#column++, floatsTextBytes(values.length), (bytes, at) =>
      writeFloats(bytes, at, values),
    );
  }

  /** Texts without what JSON escapes. */
  asciiArray(values: readonly string[] | null): void {
    if (values === null) return this.#encoder.null(this.#column++);
    const most = values.reduce((sum, { length }) => sum + length + 3, 2);
    this.#encoder.write(this.#column++, most, (bytes, start) => {
      let at = start;
      bytes[at++] = OPEN;
      for (let i = 0; i < values.length; i++) {
        if (i > 0) bytes[at++] = COMMA;
        bytes[at++] = QUOTE;
        const value = values[i]!;
        for (let j = 0; j < value.length; j++) bytes[at++] = value.charCodeAt(j);
        bytes[at++] = QUOTE;
      }
      bytes[at++] = CLOSE;
      return at;
    });
  }

  byteaOfTwo(header: Uint8Array, body: Uint8Array): void {
    this.#encoder.bytesOf(this.#column++, header, body);
  }

  text(value: string | null | undefined): void {
    this.#encoder.text(this.#column++, value);
  }

  /** Bytes are hexadecimal digits there. */
  latin1(value: string | null): void {
    this.#encoder.hex(this.#column++, value);
  }

  base64(value: Buffer): void {
    this.#encoder.ascii(this.#column++, value.toString('base64'));
  }

  jsonb(value: unknown): void {
    this.#encoder.text(this.#column++, value === null || value === undefined ? null : JSON.stringify(value));
  }

  timestamp(milliseconds: number | null | undefined): void {
    if (milliseconds === null || milliseconds === undefined) return this.#encoder.null(this.#column++);
    const microseconds = Math.round(milliseconds * 1000);
    // Past the year 2255 the product is no whole number of microseconds any more.
    this.#encoder.int64(
      this.#column++,
      Number.isSafeInteger(microseconds) ? microseconds : BigInt(Math.round(milliseconds)) * 1000n,
    );
  }
}
