import { loadConfig } from '../../config.ts';
import { BRIEF, createKafka, type Kafka } from '../../ingest/kafka.ts';
import { createLogger } from '../../log.ts';

/** A client that gives up soon and says nothing on the way. */
export const quietKafka = (brokers: string[]): Kafka =>
  createKafka(loadConfig({}), brokers, createLogger({ logLevel: 'silent', logFormat: 'json' }), BRIEF);
