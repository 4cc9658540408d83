import type { Grey } from '../../../images/grey.ts';
import type { BadImageKind } from '../../../images/headers/header.ts';

/** What may become of an image: a row, or a dead letter for that reason. */
export type Fate = 'row' | BadImageKind;

/** A file that a decoder may trip over, and what is right to become of it. */
export interface HostileImage {
  /** `kind: what exactly`; the key of its message. */
  name: string;
  bytes: Buffer;
  /** What its message's header says that it is. */
  contentType?: string;
  /** All that is right to become of it: one where there is no doubt. */
  fates: readonly Fate[];
  /** What its dead letter says, as far as the reason does not say it all. */
  detail?: RegExp;
  /** What the row's PGM holds, where that is known otherwise than by decoding this file. */
  grey?: Grey;
  /** The row's original size, where its PGM is smaller. */
  size?: [width: number, height: number];
}

/** For damage that may or may not be noticed: any reason but those that no damage of an image leads to. */
export const ANY_DEATH = ['not-an-image', 'unsupported', 'too-large', 'truncated', 'damaged'] as const;
export const ANY_FATE = ['row', ...ANY_DEATH] as const;

/** Bytes with some of them replaced. */
export function patched(bytes: Buffer, at: number, replacement: Uint8Array): Buffer {
  const copy = Buffer.from(bytes);
  copy.set(replacement, at);
  return copy;
}

export const u16be = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);

export function u16le(value: number): Buffer {
  return Buffer.from([value & 255, value >> 8]);
}

export function u32be(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function u32le(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
