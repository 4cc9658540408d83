import { connect, type Socket } from 'node:net';
import { errorText, KuduError } from '../errors.ts';
import { encodeConnectionContext } from '../messages/connection-context.ts';
import { decodeNegotiate, encodeNegotiate, type Negotiate } from '../messages/negotiate.ts';
import { encodeRequestHeader, type RequestHeader, type RequestId } from '../messages/request-header.ts';
import { type Address, addressText } from './address.ts';
import {
  type Body,
  bodyLength,
  decodeFrame,
  encodeFrame,
  FrameSplitter,
  LARGEST_REQUEST,
  type Reply,
} from './frame.ts';
import {
  checkOffer,
  checkSuccess,
  CONTEXT_CALL_ID,
  GREETING,
  initiate,
  NEGOTIATE_CALL_ID,
  OFFER,
  refusal,
} from './negotiation.ts';
import { FrameMemory } from './frame-memory.ts';
import { rpcError } from './remedies.ts';
import { readReply } from './reply.ts';

export interface Call {
  service: string;
  method: string;
  body: Body;
  /** Milliseconds until the caller gives up; the server is told, and drops what it has not begun by then. */
  timeoutMs: number;
  /** Features of the service that the server must know. */
  features?: readonly number[];
  /** Makes a write happen once over all its attempts. */
  requestId?: RequestId;
}

export interface Answer extends Omit<Reply, 'header' | 'frame'> {
  /** Takes its memory back for other answers: nobody reads this one, sidecars and all, any more. */
  release(): void;
}

interface Pending {
  resolve(reply: Reply): void;
  reject(error: unknown): void;
}

/** Read from the socket at once, at most. */
const READ_BYTES = 256 * 1024;

/** Call ids are int32; a connection that used them all up is closed, and a new one begins at 0. */
const LAST_CALL_ID = 0x7fffffff;

/**
 * One TCP connection to a Kudu server, with any number of calls in flight: answers come in any order. It is never mended:
 * once broken, every call fails, and whoever wants to go on opens another (`ConnectionPool`).
 */
export class Connection {
  readonly address: Address;
  readonly #socket: Socket;
  readonly #memory = new FrameMemory();
  readonly #pending = new Map<number, Pending>();
  #nextCallId = 0;
  #broken: KuduError | null = null;

  private constructor(address: Address) {
    this.address = address;
    const splitter = new FrameSplitter((frame) => this.#take(decodeFrame(frame)), this.#memory);
    const socket = connect({
      host: address.host,
      port: address.port,
      noDelay: true,
      // Always the same memory: the splitter copies what arrives into its frames at once.
      onread: {
        buffer: new Uint8Array(READ_BYTES),
        callback: (length, buffer) => {
          try {
            if (!this.#broken) splitter.push(buffer.subarray(0, length));
          } catch (error) {
            this.#break(error);
          }
          return true;
        },
      },
    });
    this.#socket = socket;
    socket.on('error', (error) => this.#break(error));
    socket.on('close', () => this.#break(new Error('the server closed the connection')));
  }

  /**
   * Connects and negotiates.
   * @throws KuduError UNREACHABLE, TIMEOUT, NOT_AUTHORIZED (the server demands Kerberos or TLS), BAD_REPLY
   */
  static open(address: Address, user: string, timeoutMs: number): Promise<Connection> {
    const connection = new Connection(address);
    return connection.#within(timeoutMs, 'the request to connect', async () => {
      await connection.#connected();
      await connection.#negotiate(user);
      return connection;
    });
  }

  get broken(): boolean {
    return this.#broken !== null || this.#nextCallId > LAST_CALL_ID;
  }

  /** Calls that wait for their answer. */
  get inFlight(): number {
    return this.#pending.size;
  }

  /**
   * @throws KuduError as the retry table says (`rpcError`); UNREACHABLE when the connection breaks before the answer is
   * there; TIMEOUT; INVALID_ARGUMENT when the request is larger than servers take
   */
  async call(call: Call): Promise<Answer> {
    const { service, method, body, timeoutMs, features, requestId } = call;
    const size = bodyLength(body);
    if (size > LARGEST_REQUEST) {
      throw new KuduError('INVALID_ARGUMENT', `A request of ${size} bytes is more than servers take.`);
    }
    const callId = this.#nextCallId++;
    const header: RequestHeader = {
      callId,
      service,
      method,
      timeoutMs: Math.max(1, Math.round(timeoutMs)),
      ...(features && { features }),
      ...(requestId && { requestId }),
    };
    const reply = await this.#exchange(header, body, timeoutMs, method);
    if (reply.header.isError) throw this.#failed(reply);
    const { frame, sidecars } = reply;
    return { body: reply.body, sidecars, release: () => this.#memory.giveBack(frame) };
  }

  /** Ends it; what is in flight fails. */
  close(): void {
    this.#break(new KuduError('CLOSED', `The connection to ${addressText(this.address)} was closed.`));
  }

  #connected(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.once('connect', resolve);
      this.#socket.once('close', () => reject(this.#broken!));
    });
  }

  async #negotiate(user: string): Promise<void> {
    this.#socket.write(GREETING);
    const step = async (message: Negotiate): Promise<Negotiate> => {
      const reply = await this.#exchange({ callId: NEGOTIATE_CALL_ID }, encodeNegotiate(message));
      if (reply.header.isError) throw readReply(this, 'the negotiation', () => refusal(reply));
      return readReply(this, 'the negotiation', () => decodeNegotiate(reply.body));
    };
    checkOffer(await step(OFFER));
    checkSuccess(await step(initiate(user)));
    // Not answered.
    this.#send({ callId: CONTEXT_CALL_ID }, encodeConnectionContext(user));
  }

  /** Sends one request and resolves to its reply. Without a limit, the caller has one. */
  #exchange(header: RequestHeader, body: Body, limitMs?: number, name = 'it'): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#broken) return reject(this.#broken);
      const { callId } = header;
      const timer =
        limitMs === undefined
          ? undefined
          : setTimeout(() => settle(() => reject(this.#late(name, limitMs))), limitMs);
      const settle = (finish: () => void) => {
        clearTimeout(timer);
        this.#pending.delete(callId);
        if (this.#pending.size === 0) this.#socket.unref();
        finish();
      };
      this.#pending.set(callId, {
        resolve: (reply) => settle(() => resolve(reply)),
        reject: (error) => settle(() => reject(error as Error)),
      });
      // An idle connection does not keep the process alive.
      this.#socket.ref();
      this.#send(header, body);
    });
  }

  #send(header: RequestHeader, body: Body): void {
    this.#socket.cork();
    for (const part of encodeFrame(encodeRequestHeader(header), body)) this.#socket.write(part);
    this.#socket.uncork();
  }

  #take(reply: Reply): void {
    // A call that timed out meanwhile has no place here any more.
    this.#pending.get(reply.header.callId)?.resolve(reply);
  }

  #failed(reply: Reply): KuduError {
    const { error, fatal } = readReply(this, 'a call', () => rpcError(reply.body, addressText(this.address)));
    if (fatal) this.#break(error);
    return error;
  }

  #late(what: string, limitMs: number): KuduError {
    const server = addressText(this.address);
    return new KuduError('TIMEOUT', `${server} did not answer ${what} within ${Math.round(limitMs)} ms.`, {
      server,
      remedy: 'other replica',
    });
  }

  #break(cause: unknown): void {
    if (this.#broken) return;
    const server = addressText(this.address);
    this.#broken =
      cause instanceof KuduError
        ? new KuduError(cause.code, cause.message, { ...cause, cause: cause.cause, server })
        : new KuduError('UNREACHABLE', `No connection to ${server}: ${errorText(cause)}`, {
            cause,
            server,
            remedy: 'other replica',
          });
    this.#socket.destroy();
    for (const pending of [...this.#pending.values()]) pending.reject(this.#broken);
  }

  async #within<T>(limitMs: number, what: string, work: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this.#break(this.#late(what, limitMs)), limitMs);
    try {
      return await work();
    } catch (error) {
      this.#break(error);
      throw this.#broken!;
    } finally {
      clearTimeout(timer);
    }
  }
}
