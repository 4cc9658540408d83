import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import lz4 from 'lz4-napi';
import snappy from 'snappy';

/** How Kafka compresses a record batch; each works on the whole body of one batch. */
export interface Codec {
  compress(body: Buffer): Promise<Buffer>;
  decompress(body: Buffer): Promise<Buffer>;
}

/** Start of snappy-java's stream format: its magic bytes, then version and lowest compatible version (int32 each). */
const XERIAL_MAGIC = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]);
const XERIAL_HEADER = Buffer.concat([XERIAL_MAGIC, Buffer.from([0, 0, 0, 1, 0, 0, 0, 1])]);
/** snappy-java's default block; readers size their buffers by it. */
const XERIAL_BLOCK = 32 * 1024;

/**
 * Java clients frame snappy as snappy-java's SnappyOutputStream does: the header, then blocks of
 * `int32 length, raw snappy`. librdkafka writes one raw block without any of that. Every client reads the framed form.
 */
export const snappyCodec: Codec = {
  async compress(body) {
    const parts: Buffer[] = [XERIAL_HEADER];
    for (let start = 0; start < body.length; start += XERIAL_BLOCK) {
      const block = await snappy.compress(body.subarray(start, start + XERIAL_BLOCK));
      const length = Buffer.alloc(4);
      length.writeInt32BE(block.length);
      parts.push(length, block);
    }
    return Buffer.concat(parts);
  },
  async decompress(body) {
    if (!body.subarray(0, XERIAL_MAGIC.length).equals(XERIAL_MAGIC)) return uncompressSnappy(body);
    const parts: Buffer[] = [];
    for (let at = XERIAL_HEADER.length; at < body.length;) {
      const end = at + 4 + body.readInt32BE(at);
      if (end > body.length || end < at + 4) throw new Error('a snappy block is cut short');
      parts.push(await uncompressSnappy(body.subarray(at + 4, end)));
      at = end;
    }
    return Buffer.concat(parts);
  },
};

const uncompressSnappy = async (block: Buffer) =>
  (await snappy.uncompress(block, { asBuffer: true })) as Buffer;

/** LZ4 frame format with independent blocks, the only kind that Java clients read. */
export const lz4Codec: Codec = {
  compress: (body) => lz4.compressFrame(body),
  decompress: (body) => lz4.decompressFrame(body),
};

export const zstdCodec: Codec = {
  compress: promisify<Buffer, Buffer>(zstdCompress),
  decompress: promisify<Buffer, Buffer>(zstdDecompress),
};
