import type { BinaryReader } from '@bufbuild/protobuf/wire';
import { type FieldReaders, MessageWriter, readFields, readPackable, required } from './fields.ts';

/*
 * rpc/rpc_header.proto
 *   NegotiatePB { repeated RpcFeatureFlag supported_features = 1; NegotiateStep step = 2; bytes token = 3;
 *                 repeated SaslMechanism sasl_mechanisms = 4; repeated AuthenticationTypePB authn_types = 7 }
 *   SaslMechanism        { string mechanism = 2 }
 *   AuthenticationTypePB { oneof: Sasl sasl = 1; Token token = 2; Certificate certificate = 3; Jwt jwt = 4 }
 */
export interface Negotiate {
  step: number;
  features: number[];
  token?: Uint8Array;
  mechanisms: string[];
  authentication: AuthenticationType[];
}

export type AuthenticationType = 'sasl' | 'token' | 'certificate' | 'jwt';

/** NegotiateStep */
export const STEPS = {
  SASL_SUCCESS: 0,
  NEGOTIATE: 1,
  SASL_INITIATE: 2,
  SASL_CHALLENGE: 3,
  SASL_RESPONSE: 4,
  TLS_HANDSHAKE: 5,
  TOKEN_EXCHANGE: 6,
  JWT_EXCHANGE: 7,
} as const;

/** RpcFeatureFlag */
export const RPC_FEATURES = { APPLICATION_FEATURE_FLAGS: 1, TLS: 2, TLS_AUTHENTICATION_ONLY: 3 } as const;

/** AuthenticationTypePB, by field number */
const TYPES: Readonly<Record<number, AuthenticationType>> = {
  1: 'sasl',
  2: 'token',
  3: 'certificate',
  4: 'jwt',
};

export function encodeNegotiate(message: Partial<Negotiate> & Pick<Negotiate, 'step'>): Uint8Array {
  const { step, features = [], token, mechanisms = [], authentication = [] } = message;
  const writer = new MessageWriter();
  for (const feature of features) writer.uint(1, feature);
  writer.int(2, step).bytes(3, token);
  writer.all(
    4,
    mechanisms.map((mechanism) => new MessageWriter().string(2, mechanism).finish()),
  );
  for (const type of authentication) {
    const number = Object.values(TYPES).indexOf(type) + 1;
    writer.bytes(7, new MessageWriter().bytes(number, new Uint8Array()).finish());
  }
  return writer.finish();
}

export function decodeNegotiate(bytes: Uint8Array): Negotiate {
  let step: number | undefined;
  const message: Omit<Negotiate, 'step'> = { features: [], mechanisms: [], authentication: [] };
  const typeReaders: FieldReaders = Object.fromEntries(
    Object.entries(TYPES).map(([number, type]) => [
      number,
      (reader: BinaryReader) => {
        reader.bytes();
        message.authentication.push(type);
      },
    ]),
  );
  readFields(bytes, {
    1: (reader, type) => void message.features.push(...readPackable(reader, type, (from) => from.int32())),
    2: (reader) => (step = reader.int32()),
    3: (reader) => (message.token = reader.bytes()),
    4: (reader) =>
      readFields(reader.bytes(), { 2: (mechanism) => void message.mechanisms.push(mechanism.string()) }),
    7: (reader) => readFields(reader.bytes(), typeReaders),
  });
  return { ...message, step: required(step, 'step') };
}
