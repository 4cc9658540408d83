import { documentId } from './documents.ts';

/** One document to put or to delete (`source` null), at a version. */
export interface Operation {
  index: string;
  dataset: string;
  id: string;
  revision: number;
  /**
   * Makes the document's JSON, when it is sent, and again when it has to be sent again. Thousands of documents that
   * wait as strings cost more processor time in the garbage collector than all the rest of the indexer takes.
   */
  source: (() => string) | null;
}

export type VersionType = 'external' | 'external_gte';

/** A body of the bulk API and what is in it. */
export interface BulkRequest {
  operations: Operation[];
  body: Buffer;
}

/** Elasticsearch advises 5 to 15 MB; more only costs memory on both sides. */
const REQUEST_BYTES = 8 * 1024 * 1024;
/**
 * Elasticsearch refuses requests over 100 MB (http.max_content_length) by cutting the connection, which looks like
 * an outage; a document of that size must not be tried for ever.
 */
const LARGEST_DOCUMENT = 64 * 1024 * 1024;

/** One request for what has been in one before. */
export function requestOf(operations: Operation[], versionType: VersionType): BulkRequest {
  const lines = new Lines();
  for (const operation of operations) {
    lines.add(actionLine(operation, versionType));
    if (operation.source) lines.add(operation.source());
  }
  return { operations, body: lines.bytes };
}

/**
 * Requests that hold the operations in their order, each made when it is asked for.
 * @param refuse takes what is too large to be sent
 */
export function* bulkRequests(
  operations: readonly Operation[],
  versionType: VersionType,
  refuse: (operation: Operation, error: string) => void,
): Generator<BulkRequest> {
  let part: Operation[] = [];
  let lines = new Lines();
  for (const operation of operations) {
    const start = lines.length;
    lines.add(actionLine(operation, versionType));
    if (operation.source) {
      const bytes = lines.add(operation.source());
      if (bytes > LARGEST_DOCUMENT) {
        refuse(operation, `the document has ${bytes} bytes`);
        lines.cut(start);
        continue;
      }
    }
    part.push(operation);
    if (lines.length < REQUEST_BYTES) continue;
    yield { operations: part, body: lines.bytes };
    part = [];
    lines = new Lines();
  }
  if (part.length > 0) yield { operations: part, body: lines.bytes };
}

function actionLine({ index, dataset, id, revision, source }: Operation, versionType: VersionType): string {
  const target = {
    _index: index,
    _id: documentId(dataset, id),
    version: revision,
    version_type: versionType,
  };
  return JSON.stringify(source === null ? { delete: target } : { index: target });
}

const FIRST_BYTES = 64 * 1024;
/** A character of JavaScript (half of a surrogate pair counts as one) takes no more in UTF-8. */
const BYTES_OF_CHARACTER = 3;

/** Lines of text as UTF-8, one after the other in a buffer that grows. */
class Lines {
  length = 0;
  #buffer = Buffer.allocUnsafeSlow(FIRST_BYTES);

  /** @returns bytes of the line, without its end */
  add(line: string): number {
    this.#reserve(line.length * BYTES_OF_CHARACTER + 1);
    const bytes = this.#buffer.write(line, this.length);
    this.#buffer[this.length + bytes] = NEW_LINE;
    this.length += bytes + 1;
    return bytes;
  }

  /** Forgets what was written from `length` on. */
  cut(length: number): void {
    this.length = length;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }

  #reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.length);
    this.#buffer = larger;
  }
}

const NEW_LINE = 0x0a;
