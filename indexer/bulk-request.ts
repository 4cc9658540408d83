import { ByteWriter } from './byte-writer.ts';
import { documentId } from './documents.ts';

/** One document to put or to delete (`source` null), at a version. */
export interface Operation {
  index: string;
  dataset: string;
  id: string;
  revision: number;
  /**
   * Writes the document's JSON when it is sent, and again when it has to be sent again. Thousands of documents that wait
   * as strings cost more processor time in the garbage collector than all the rest of the indexer takes.
   */
  source: ((out: ByteWriter) => void) | null;
}

export type VersionType = 'external' | 'external_gte';

/** Elasticsearch advises 5 to 15 MB; more only costs memory on both sides. */
const REQUEST_BYTES = 8 * 1024 * 1024;
/**
 * Elasticsearch refuses requests over 100 MB (http.max_content_length) by cutting the connection, which looks like
 * an outage; a document of that size must not be tried for ever.
 */
const LARGEST_DOCUMENT = 64 * 1024 * 1024;

/** A body of the bulk API and what is in it. */
export interface BulkRequest {
  operations: Operation[];
  body: Buffer;
  /** To be called when nobody needs the body any more. */
  release(): void;
}

/**
 * Bodies are written where earlier ones were: new memory of megabytes for every request has the garbage collector run
 * for 3 µs per document.
 */
const SPARE: ByteWriter[] = [];
/** As many as requests are under way when the feed catches up. */
const MOST_SPARE = 2;
/** A body is about REQUEST_BYTES long, its buffer at most twice that; one that was made for a huge document is not kept. */
const LARGEST_SPARE = 2 * REQUEST_BYTES;

function newBody(): ByteWriter {
  const out = SPARE.pop() ?? new ByteWriter();
  out.length = 0;
  return out;
}

const request = (operations: Operation[], out: ByteWriter): BulkRequest => ({
  operations,
  body: out.bytes,
  release() {
    if (SPARE.length < MOST_SPARE && out.buffer.length <= LARGEST_SPARE) SPARE.push(out);
  },
});

const NEW_LINE = 0x0a;

/** One request for all operations, which have been in one before. */
export function requestOf(operations: Operation[], versionType: VersionType): BulkRequest {
  const out = newBody();
  for (const operation of operations) writeLines(out, operation, versionType);
  return request(operations, out);
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
  let out = newBody();
  for (const operation of operations) {
    const start = out.length;
    const bytes = writeLines(out, operation, versionType);
    if (bytes > LARGEST_DOCUMENT) {
      out.length = start;
      refuse(operation, `the document has ${bytes} bytes`);
      continue;
    }
    part.push(operation);
    if (out.length < REQUEST_BYTES) continue;
    yield request(part, out);
    part = [];
    out = newBody();
  }
  if (part.length > 0) yield request(part, out);
}

/** @returns bytes of the document */
function writeLines(out: ByteWriter, operation: Operation, versionType: VersionType): number {
  const { index, dataset, id, revision, source } = operation;
  const target = {
    _index: index,
    _id: documentId(dataset, id),
    version: revision,
    version_type: versionType,
  };
  out.text(JSON.stringify(source === null ? { delete: target } : { index: target }));
  out.byte(NEW_LINE);
  if (!source) return 0;
  const start = out.length;
  source(out);
  out.byte(NEW_LINE);
  return out.length - start - 1;
}
