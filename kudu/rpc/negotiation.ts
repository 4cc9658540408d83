import { KuduError } from '../errors.ts';
import { decodeErrorStatus } from '../messages/error-status.ts';
import { type Negotiate, RPC_FEATURES, STEPS } from '../messages/negotiate.ts';
import type { Reply } from './frame.ts';

/** `hrpc`, version 9, service class 0, authentication protocol 0 (rpc/constants.h). The server does not answer it. */
export const GREETING = Uint8Array.of(0x68, 0x72, 0x70, 0x63, 9, 0, 0);
export const NEGOTIATE_CALL_ID = -33;
export const CONTEXT_CALL_ID = -3;

const PLAIN = 'PLAIN';

/** We offer no TLS: a server that insists on it says so at once. */
export const OFFER: Negotiate = {
  step: STEPS.NEGOTIATE,
  features: [RPC_FEATURES.APPLICATION_FEATURE_FLAGS],
  mechanisms: [],
  authentication: ['sasl'],
};

/** SASL PLAIN (RFC 4616) with no password: servers without Kerberos take the user at his word. */
export const initiate = (user: string): Negotiate => ({
  step: STEPS.SASL_INITIATE,
  features: [],
  mechanisms: [PLAIN],
  authentication: [],
  token: Buffer.from(`\0${user}\0`),
});

/** @throws KuduError NOT_AUTHORIZED with what to do about it */
export function checkOffer(answer: Negotiate): void {
  if (answer.step !== STEPS.NEGOTIATE) throw unexpected(answer);
  const [chosen = 'sasl'] = answer.authentication;
  if (chosen !== 'sasl') {
    throw new KuduError(
      'NOT_AUTHORIZED',
      `The server demands authentication by ${chosen}, which is not there yet.`,
    );
  }
  if (!answer.mechanisms.includes(PLAIN)) {
    const list = answer.mechanisms.join(', ') || 'none';
    throw new KuduError(
      'NOT_AUTHORIZED',
      `The server demands Kerberos (its SASL mechanisms: ${list}), which this client does not speak: ` +
        'it needs a server with --rpc_authentication=optional or disabled.',
    );
  }
}

/** @throws KuduError NOT_AUTHORIZED */
export function checkSuccess(answer: Negotiate): void {
  if (answer.step !== STEPS.SASL_SUCCESS) throw unexpected(answer);
}

/** What a server says when it refuses to negotiate. */
export function refusal(reply: Reply): KuduError {
  const { message } = decodeErrorStatus(reply.body);
  const hint = /TLS|encrypt/i.test(message)
    ? ' This client does not speak TLS yet: it needs a server with --rpc_encryption=optional or disabled.'
    : '';
  return new KuduError('NOT_AUTHORIZED', `The server refuses the connection: ${message}.${hint}`);
}

const unexpected = ({ step }: Negotiate) =>
  new KuduError('BAD_REPLY', `The server answered the negotiation with step ${step}.`);
