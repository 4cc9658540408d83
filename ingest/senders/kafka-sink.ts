import type { Config } from '../../config.ts';
import type { Logger } from '../../log.ts';
import { type Compression, openKafkaAdmin, topicMissing } from '../kafka.ts';
import { createSenderProducer, MessageTooLarge, type OutgoingMessage } from '../kafka-producer.ts';
import type { ImageSink, Omissions, OutgoingImage } from './image.ts';

/**
 * Kafka's default for `socket.request.max.bytes` is 100 MiB; a broker answers more by cutting the connection, which
 * looks like a network fault. Some room is left for headers.
 */
const LARGEST_REQUEST_BYTES = 100 * 1024 * 1024 - 64 * 1024;

export interface KafkaSinkOptions {
  topic: string;
  compression: Compression;
  omissions: Omissions;
}

/**
 * Images go to the dataset's topic: key = id, headers `known-label` where a label is known. An image that the topic
 * is too narrow for is refused by name; its neighbours are sent.
 * @throws HubError NOT_FOUND when the topic is not there, SERVER_UNREACHABLE, ACCESS_DENIED
 */
export async function openKafkaSink(
  config: Config,
  brokers: string[],
  { topic, compression, omissions }: KafkaSinkOptions,
  log: Logger,
): Promise<ImageSink> {
  const limit = await topicLimit(config, brokers, topic, log);
  const producer = await createSenderProducer(config, brokers, topic, compression, log);

  const refuse = ({ id, bytes }: OutgoingImage) => {
    const size = bytes.length.toLocaleString('en');
    omissions.refuse(
      id,
      `${size} bytes are more than topic ${topic} takes: its max.message.bytes is ${limit.toLocaleString('en')} (message.max.bytes of the broker where the topic sets none)`,
    );
  };
  const publish = async (images: OutgoingImage[]): Promise<void> => {
    try {
      await producer.publish(images.map(toMessage));
    } catch (error) {
      if (!(error instanceof MessageTooLarge)) throw error;
      // One record batch per partition has to fit; halves find the images that are too large by themselves.
      if (images.length === 1) return refuse(images[0]!);
      const half = images.length >> 1;
      await publish(images.slice(0, half));
      await publish(images.slice(half));
    }
  };
  return {
    async send(images) {
      const sendable = images.filter((image) => image.bytes.length <= LARGEST_REQUEST_BYTES);
      if (sendable.length > 0) await publish(sendable);
      images.filter((image) => image.bytes.length > LARGEST_REQUEST_BYTES).forEach(refuse);
    },
    close: () => producer.close(),
  };
}

async function topicLimit(config: Config, brokers: string[], topic: string, log: Logger): Promise<number> {
  await using admin = await openKafkaAdmin(config, brokers, log);
  if (!(await admin.topicExists(topic))) throw topicMissing(topic, brokers);
  return await admin.maxMessageBytes(topic);
}

const toMessage = ({ id, bytes, label }: OutgoingImage): OutgoingMessage => ({
  key: id,
  value: bytes,
  headers: label === undefined ? {} : { 'known-label': label },
});
