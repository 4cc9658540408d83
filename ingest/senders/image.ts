import { isUtf8 } from 'node:buffer';
import { IMAGE_URL, MAX_ID_BYTES } from '../message.ts';

/** One image on its way into the hub. */
export interface OutgoingImage {
  id: string;
  /** The encoded image; never empty without `url`, as an empty message deletes. */
  bytes: Buffer;
  /** Where the pipeline is to fetch the image, for a message without bytes. */
  url?: string;
  /** Class name (or index) for the header `known-label`; '' says "unknown" and keeps the dataset's rule away. */
  label?: string;
}

/** Of its message. */
export const headersOf = ({ label, url }: OutgoingImage): [name: string, value: string][] => [
  ...(label === undefined ? [] : [['known-label', label] satisfies [string, string]]),
  ...(url === undefined ? [] : [[IMAGE_URL, url] satisfies [string, string]]),
];

export interface RefusedImage {
  image: OutgoingImage;
  reason: string;
}

/** Where images go: the dataset's topic, or straight into the pipeline where there is no Kafka. */
export interface ImageSink {
  /**
   * Returns when the images are safe: acknowledged by all replicas, or committed. Order is kept.
   * @returns those it could not take, if any; the others are safe all the same.
   */
  send(images: OutgoingImage[]): Promise<RefusedImage[] | void>;
  close(): Promise<void>;
}

/** An image with its place in the source, from which a later send goes on. */
export interface SourceImage extends OutgoingImage {
  /** Opaque to everyone but the source. */
  position: string;
}

/** Where an earlier send stopped. */
export interface Resume {
  /** Of the last image that was acknowledged. */
  position: string;
  /** When that send began, ms since 1970: what changed in a folder since then is sent although it sorts earlier. */
  startedAt: number;
}

/** Something images come from, in the same order every time. */
export interface ImageSource {
  /** For people: the path as given. */
  name: string;
  /** What its checkpoint is filed under: kind and absolute path. */
  key: string;
  /** Differs when the content does (size, modification time): a checkpoint of other content is not used. */
  version: string;
  /** How many images it holds, where that is known before they are read. */
  total?: number;
  /** Of all of them, where that is known before they are read. */
  ids?(): Iterable<string>;
  /** How much of it was read, 0 to 1, where the total is not known. */
  fraction?(): number;
  images(resume: Resume | undefined, signal: AbortSignal): AsyncIterable<SourceImage>;
}

/** What is not sent. Nothing is left out in silence. */
export interface Omissions {
  /** As it should be: a file that is no image. */
  skip(name: string, reason: string): void;
  /** Somebody should look at it: it was asked for and could not be sent. */
  refuse(name: string, reason: string): void;
}

/** An empty message would delete the image of that id. */
export const EMPTY_FILE = 'empty file (an empty message would delete the image)';

/** Why this text cannot be an image's id, or null. */
export function idProblem(id: string): string | null {
  if (id === '') return 'empty id';
  if (id.includes('\0')) return 'id with a NUL byte';
  if (!id.isWellFormed()) return 'id that is not UTF-8';
  const bytes = Buffer.byteLength(id);
  return bytes > MAX_ID_BYTES ? `id over ${MAX_ID_BYTES} bytes` : null;
}

/** A file name as the file system or a tar holds it, or null when it is not UTF-8. */
export const decodeName = (name: Buffer): string | null => (isUtf8(name) ? name.toString('utf8') : null);

const IMAGE_EXTENSION = /\.(png|jpe?g|jpe|jfif|webp|gif|tiff?|avif|bmp|pgm|ppm|pbm|pnm)$/i;

/** Why a file of this path is not taken for an image, or null when it is: by its extension, and not hidden. */
export function notAnImage(path: string): string | null {
  const name = path.slice(path.lastIndexOf('/') + 1);
  if (name.startsWith('.')) return 'hidden file';
  return IMAGE_EXTENSION.test(name) ? null : 'not an image by its extension';
}
