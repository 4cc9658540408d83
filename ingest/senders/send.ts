import { type ImageSink, idProblem, type Omissions, type OutgoingImage, type SourceImage } from './image.ts';

export interface SendOptions {
  /** Most images in one call of the sink. */
  batchImages: number;
  /** Most bytes of keys and images in one call; one larger image goes alone. */
  batchBytes: number;
  /** Send no more than this many. */
  limit: number;
  signal: AbortSignal;
  omissions: Omissions;
  /** After the sink has taken a batch: what it took, and the position after which a repeated send goes on. */
  acknowledged(sent: SourceImage[], position: string): Promise<void>;
}

/** A batch waits no longer than this for more images of a slow source (a watched folder, a pipe). */
const LINGER_MS = 250;

/**
 * Sends images in batches, reading the next batch while one is on its way. On interrupt the batch in flight is
 * finished and acknowledged, and what was only read is left for the next time.
 */
export async function sendImages(
  images: AsyncIterable<SourceImage>,
  sink: ImageSink,
  options: SendOptions,
): Promise<void> {
  let inFlight: Promise<void> = Promise.resolve();
  const send = async (batch: SourceImage[]) => {
    const refused = (await sink.send(batch)) ?? [];
    for (const { image, reason } of refused) {
      options.omissions.refuse(`${image.id} (${image.bytes.length.toLocaleString('en')} bytes)`, reason);
    }
    const without = new Set<OutgoingImage>(refused.map(({ image }) => image));
    const sent = without.size === 0 ? batch : batch.filter((image) => !without.has(image));
    await options.acknowledged(sent, batch.at(-1)!.position);
  };
  try {
    for await (const batch of batches(images, options)) {
      await inFlight;
      if (options.signal.aborted) break;
      inFlight = send(batch);
      // Awaited by the next round; until then its failure is not unhandled.
      inFlight.catch(() => undefined);
    }
  } finally {
    await inFlight;
  }
}

/** Overhead of a message in Kafka's record format beside key and value, about. */
const MESSAGE_OVERHEAD_BYTES = 40;

const sizeOf = ({ id, bytes, url, label }: SourceImage) =>
  bytes.length + id.length + (url?.length ?? 0) + (label?.length ?? 0) + MESSAGE_OVERHEAD_BYTES;

/**
 * Groups images into batches; one is given out when it is full, when its first image has waited for `LINGER_MS`, or
 * when the source ends. On interrupt it ends at once, whatever the source is waiting for.
 */
async function* batches(
  images: AsyncIterable<SourceImage>,
  options: SendOptions,
): AsyncGenerator<SourceImage[]> {
  const { signal, omissions } = options;
  const iterator = images[Symbol.asyncIterator]();
  let arrived: { result: IteratorResult<SourceImage> } | { error: unknown } | undefined;
  let lingered = false;
  let timer: NodeJS.Timeout | undefined;
  // One wake-up at a time instead of Promise.race, which would keep every image alive until the interrupt comes.
  let wake = () => {};
  const pull = () =>
    void iterator.next().then(
      (result) => ((arrived = { result }), wake()),
      (error: unknown) => ((arrived = { error }), wake()),
    );
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);

  let batch: SourceImage[] = [];
  let bytes = 0;
  let left = options.limit;
  const take = () => {
    clearTimeout(timer);
    lingered = false;
    const full = batch;
    [batch, bytes] = [[], 0];
    return full;
  };
  try {
    if (left > 0) pull();
    while (left > 0) {
      if (!arrived && !lingered && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
      if (signal.aborted) return;
      if (!arrived) {
        yield take();
        continue;
      }
      if ('error' in arrived) {
        // What was read before the source failed is sent.
        if (batch.length > 0) yield take();
        throw arrived.error;
      }
      const { done, value: image } = arrived.result;
      if (done) break;
      arrived = undefined;
      const problem = idProblem(image.id);
      if (problem !== null) omissions.refuse(shorten(image.id), problem);
      else {
        left--;
        if (batch.length > 0 && bytes + sizeOf(image) > options.batchBytes) yield take();
        batch.push(image);
        bytes += sizeOf(image);
        if (batch.length === 1) timer = setTimeout(() => ((lingered = true), wake()), LINGER_MS);
      }
      if (left > 0) pull();
      if (batch.length >= options.batchImages) yield take();
    }
    if (batch.length > 0) yield take();
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', onAbort);
    // Not awaited: a source that waits for its next image would keep us.
    void iterator.return?.();
  }
}

const shorten = (id: string) => (id.length > 80 ? `${id.slice(0, 80)}…` : id);
