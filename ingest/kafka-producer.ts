import type { Config } from '../config.ts';
import { HubError } from '../errors.ts';
import type { Logger } from '../log.ts';
import {
  type Compression,
  COMPRESSIONS,
  createKafka,
  isKafkaError,
  kafkaError,
  Partitioners,
} from './kafka.ts';

export interface OutgoingMessage {
  /** The image id. */
  key: string;
  value: Buffer;
  headers: Record<string, string>;
}

/** Publishes to one topic; every call returns when all in-sync replicas have the messages. */
export interface SenderProducer extends AsyncDisposable {
  /** @throws HubError NOT_FOUND, SERVER_UNREACHABLE, ACCESS_DENIED; MessageTooLarge */
  publish(messages: OutgoingMessage[]): Promise<void>;
  close(): Promise<void>;
}

/** The broker takes no record batch of this size. With more than one message in it, fewer may pass. */
export class MessageTooLarge extends HubError {
  constructor(bytes: number, topic: string, cause: unknown) {
    super('BAD_MESSAGE', `${bytes} bytes are more than topic ${topic} takes.`, { cause });
  }
}

/**
 * A producer for one topic, which must be there: it is never made on the way. Messages of one key go to one
 * partition, the same that Java clients choose (murmur2 of the key).
 */
export async function createSenderProducer(
  config: Config,
  brokers: string[],
  topic: string,
  compression: Compression,
  log: Logger,
): Promise<SenderProducer> {
  const producer = createKafka(config, brokers, log).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    allowAutoTopicCreation: false,
  });
  try {
    await producer.connect();
  } catch (error) {
    throw kafkaError(error, brokers, topic);
  }
  return {
    async publish(messages) {
      try {
        await producer.send({ topic, messages, acks: -1, compression: COMPRESSIONS[compression] });
      } catch (error) {
        if (isKafkaError(error, 'MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE')) {
          const bytes = messages.reduce((sum, { value }) => sum + value.length, 0);
          throw new MessageTooLarge(bytes, topic, error);
        }
        throw kafkaError(error, brokers, topic);
      }
    },
    close: () => producer.disconnect(),
    [Symbol.asyncDispose]: () => producer.disconnect(),
  };
}
