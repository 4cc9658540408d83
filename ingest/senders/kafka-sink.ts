import type { Config } from '../../config.ts';
import type { Logger } from '../../log.ts';
import { type Compression, openKafkaAdmin, topicMissing } from '../kafka.ts';
import { createSenderProducer, MessageTooLarge, type OutgoingMessage } from '../kafka-producer.ts';
import { headersOf, type ImageSink, type OutgoingImage, type RefusedImage } from './image.ts';

/**
 * Kafka's default for `socket.request.max.bytes` is 100 MiB; a broker answers more by cutting the connection, which
 * looks like a network fault. Some room is left for headers.
 */
const LARGEST_REQUEST_BYTES = 100 * 1024 * 1024 - 64 * 1024;

/**
 * Images go to the dataset's topic: key = id, header `known-label` where a label is known. An image that is larger
 * than the topic takes is refused; its neighbours are sent.
 * @throws HubError NOT_FOUND when the topic is not there, SERVER_UNREACHABLE, ACCESS_DENIED
 */
export async function openKafkaSink(
  config: Config,
  brokers: string[],
  topic: string,
  compression: Compression,
  log: Logger,
): Promise<ImageSink> {
  const limit = (await topicLimit(config, brokers, topic, log)).toLocaleString('en');
  const producer = await createSenderProducer(config, brokers, topic, compression, log);
  const reason = `larger than topic ${topic} takes: its max.message.bytes is ${limit} (where the topic sets none: message.max.bytes of the broker)`;

  const publish = async (images: OutgoingImage[]): Promise<RefusedImage[]> => {
    try {
      await producer.publish(images.map(toMessage));
      return [];
    } catch (error) {
      if (!(error instanceof MessageTooLarge)) throw error;
      // A partition's messages have to fit together; halves find the images that are too large by themselves.
      if (images.length === 1) return [{ image: images[0]!, reason }];
      const half = images.length >> 1;
      return [...(await publish(images.slice(0, half))), ...(await publish(images.slice(half)))];
    }
  };
  return {
    async send(images) {
      const [small, large] = [[] as OutgoingImage[], [] as RefusedImage[]];
      for (const image of images) {
        if (image.bytes.length <= LARGEST_REQUEST_BYTES) small.push(image);
        else large.push({ image, reason });
      }
      return small.length > 0 ? [...(await publish(small)), ...large] : large;
    },
    close: () => producer.close(),
  };
}

async function topicLimit(config: Config, brokers: string[], topic: string, log: Logger): Promise<number> {
  await using admin = await openKafkaAdmin(config, brokers, log);
  if (!(await admin.topicExists(topic))) throw topicMissing(topic, brokers);
  return await admin.maxMessageBytes(topic);
}

const toMessage = (image: OutgoingImage): OutgoingMessage => ({
  key: image.id,
  value: image.bytes,
  headers: Object.fromEntries(headersOf(image)),
});
