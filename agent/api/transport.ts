/**
 * HTTP over a Unix socket, as little of it as the agent's API needs. `node:http` costs the CNI plugin 7 ms of every start
 * and undici 45 ms, so this speaks HTTP/1.0 over `node:net`: one request, one connection, no chunked bodies (RFC 9112
 * §6.1 forbids them towards an HTTP/1.0 client), and the connection's end is the end of the answer.
 */
import { connect, type Socket } from 'node:net';
import { ERROR_CATALOGUE, WeirError, type ErrorCode } from '../model/errors.ts';

export type Method = 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';

/** One request to the agent. */
export interface ApiCall {
  readonly method: Method;
  /** Absolute path with its query, such as `/v1/endpoint/42`; each variable part already percent-encoded. */
  readonly path: string;
  /** Sent as JSON when present. */
  readonly body?: unknown;
  /** How long the whole exchange may take, in milliseconds; no limit when absent. */
  readonly timeoutMs?: number;
  /** Aborts the exchange; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Of a stream: the agent has taken the call and will answer line by line. */
  readonly onOpen?: () => void;
}

/** Name of the header that carries the parts of a fault: percent-encoded JSON. */
export const ERROR_HEADER = 'weir-error';

interface Head {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  /** Where the body starts, in bytes. */
  readonly end: number;
}

/** No head of the agent is larger: more than this without an end is not an HTTP answer. */
const MAX_HEAD_BYTES = 64 * 1024;

/**
 * Sends one request and returns the decoded JSON body of its answer; undefined when the body is empty.
 *
 * @throws WeirError AGENT_UNREACHABLE when nothing listens (the request was not sent), AGENT_LOST when the connection
 *   broke before the whole answer came and AGENT_TIMEOUT when it did not come in time (the request may have taken
 *   effect), ANSWER_INVALID when the answer is not the agent's, or the fault that the agent answered.
 */
export function exchange(socketPath: string, call: ApiCall): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const socket = open(socketPath, call);
    const chunks: Buffer[] = [];
    let connected = false;
    let done = false;

    const settle = (finish: () => void): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', abort);
      socket.destroy();
      finish();
    };
    const fail = (error: unknown): void => settle(() => reject(toError(error)));
    const answer = (): void => {
      try {
        const body = decode(Buffer.concat(chunks), socketPath, call);
        settle(() => resolve(body));
      } catch (error) {
        fail(error);
      }
    };
    const abort = (): void => fail(call.signal?.reason);
    const timer =
      call.timeoutMs === undefined ? undefined : setTimeout(() => fail(timedOut(socketPath, call)), call.timeoutMs);

    if (isAborted(call)) abort();
    call.signal?.addEventListener('abort', abort, { once: true });
    socket.on('connect', () => (connected = true));
    socket.on('error', (error) => fail(connected ? lost(socketPath, call, error) : unreachable(socketPath, error)));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', answer);
    socket.on('close', () => fail(lost(socketPath, call)));
  });
}

/**
 * Sends one request and yields each line of its answer, decoded from JSON (`application/x-ndjson`), as it comes. Ends
 * when the agent closes the stream, or when `signal` aborts; leaving the loop closes the connection.
 *
 * @throws WeirError as {@link exchange} does.
 */
export async function* streamLines(socketPath: string, call: ApiCall): AsyncGenerator<unknown, void, undefined> {
  for await (const lines of streamText(socketPath, call)) {
    for (const line of lines.split('\n')) if (line.trim() !== '') yield parseJson(line, socketPath);
  }
}

/** As {@link streamLines}, but undecoded: whole lines, as many at a time as have come. */
export async function* streamText(socketPath: string, call: ApiCall): AsyncGenerator<string, void, undefined> {
  if (isAborted(call)) return;
  const socket = open(socketPath, call);
  const abort = (): void => void socket.destroy();
  call.signal?.addEventListener('abort', abort, { once: true });
  const state = { connected: false };
  socket.once('connect', () => (state.connected = true));
  let pending: Buffer = Buffer.alloc(0);
  let head: Head | undefined;
  try {
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      if (head === undefined) {
        head = parseHead(pending, socketPath);
        if (head === undefined) continue;
        if (head.status < 300) {
          pending = pending.subarray(head.end);
          call.onOpen?.();
        }
      }
      if (head.status >= 300) continue;
      const end = pending.lastIndexOf(10) + 1;
      if (end === 0) continue;
      const lines = pending.toString('utf8', 0, end);
      pending = pending.subarray(end);
      yield lines;
    }
  } catch (error) {
    if (isAborted(call)) return;
    if (error instanceof WeirError) throw error;
    throw state.connected ? lost(socketPath, call, error) : unreachable(socketPath, error);
  } finally {
    call.signal?.removeEventListener('abort', abort);
    socket.destroy();
  }
  if (head === undefined) throw lost(socketPath, call);
  if (head.status >= 300) decode(pending, socketPath, call);
}

/** A function, because the type checker takes a signal for a constant. */
function isAborted({ signal }: ApiCall): boolean {
  return signal?.aborted === true;
}

/** Connects and sends the request. The agent may answer before it has read the whole of it. */
function open(socketPath: string, call: ApiCall): Socket {
  const socket = connect(socketPath);
  const body = call.body === undefined ? undefined : JSON.stringify(call.body);
  const content =
    body === undefined ? '' : `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  socket.write(`${call.method} ${call.path} HTTP/1.0\r\nHost: localhost\r\n${content}\r\n${body ?? ''}`);
  return socket;
}

/** The body of a complete answer, or the fault that it tells. */
function decode(answer: Buffer, socketPath: string, call: ApiCall): unknown {
  const head = parseHead(answer, socketPath);
  if (head === undefined) throw lost(socketPath, call);
  const body = answer.subarray(head.end);
  const length = head.headers.get('content-length');
  // An agent that dies while it answers leaves a body that is too short.
  if (length !== undefined && body.length < Number(length)) throw lost(socketPath, call);
  const text = body.toString();
  if (head.status >= 300) throw faultOf(head, text, call.path);
  return text === '' ? undefined : parseJson(text, socketPath);
}

/** Undefined while the head has not ended. */
function parseHead(answer: Buffer, socketPath: string): Head | undefined {
  const end = answer.indexOf('\r\n\r\n');
  if (end < 0 && answer.length <= MAX_HEAD_BYTES) return undefined;
  const [statusLine, ...lines] = answer.subarray(0, Math.max(end, 0)).toString('latin1').split('\r\n');
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(statusLine!)?.[1];
  if (status === undefined) throw notTheAgent(socketPath, 'its answer is not HTTP');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon > 0) headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(status), headers, end: end + 4 };
}

/** The fault of an answer: its parts from the header, else the text of its body and a code that fits its status. */
function faultOf(head: Head, body: string, path: string): WeirError {
  const parts = faultParts(head.headers.get(ERROR_HEADER));
  const text = faultText(body);
  const message = parts['message'] ?? (text === '' ? `the agent answered with HTTP status ${head.status}` : text);
  const { object, field, remedy } = parts;
  return new WeirError(codeOf(parts['code'], head.status, path), message, {
    ...(object === undefined ? {} : { object }),
    ...(field === undefined ? {} : { field }),
    ...(remedy === undefined ? {} : { remedy }),
  });
}

function faultParts(header: string | undefined): Partial<Record<string, string>> {
  if (header === undefined) return {};
  try {
    const parts: unknown = JSON.parse(decodeURIComponent(header));
    if (typeof parts !== 'object' || parts === null) return {};
    return Object.fromEntries(
      Object.entries(parts).filter((part): part is [string, string] => typeof part[1] === 'string'),
    );
  } catch {
    // The body still says what went wrong.
    return {};
  }
}

/** The API's error body is a JSON string; a body of anything else is shown as it is. */
function faultText(body: string): string {
  try {
    const text: unknown = JSON.parse(body);
    return typeof text === 'string' ? text : body.trim();
  } catch {
    return body.trim();
  }
}

function codeOf(code: string | undefined, status: number, path: string): ErrorCode {
  if (code !== undefined && Object.hasOwn(ERROR_CATALOGUE, code)) return code as ErrorCode;
  if (status === 404 && path.startsWith('/v1/endpoint/')) return 'ENDPOINT_NOT_FOUND';
  if (status === 503) return 'AGENT_STARTING';
  return status < 500 ? 'REQUEST_INVALID' : 'INTERNAL';
}

/** What the agent at `socketPath` wrote as JSON. @throws WeirError ANSWER_INVALID */
export function parseJson(text: string, socketPath: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw notTheAgent(socketPath, `its answer is not JSON: ${JSON.stringify(text.slice(0, 80))}`, cause);
  }
}

function unreachable(socketPath: string, cause: unknown): WeirError {
  const code = (cause as NodeJS.ErrnoException).code;
  return new WeirError('AGENT_UNREACHABLE', `cannot reach weir-agent at ${socketPath}: ${reason(code)}`, {
    cause,
    ...(code === 'EACCES' ? { remedy: "run as root, or as a member of the socket's group" } : {}),
  });
}

function reason(code: string | undefined): string {
  if (code === 'ENOENT') return 'the socket does not exist';
  if (code === 'ECONNREFUSED') return 'nothing listens on the socket';
  if (code === 'EACCES') return 'permission denied';
  return code ?? 'the connection failed';
}

function lost(socketPath: string, { method, path }: ApiCall, cause?: unknown): WeirError {
  const message = `weir-agent at ${socketPath} closed the connection before it had answered ${method} ${path}`;
  return new WeirError('AGENT_LOST', message, { cause });
}

function timedOut(socketPath: string, { method, path, timeoutMs }: ApiCall): WeirError {
  const message = `weir-agent at ${socketPath} did not answer ${method} ${path} within ${String(timeoutMs)} ms`;
  return new WeirError('AGENT_TIMEOUT', message);
}

function notTheAgent(socketPath: string, what: string, cause?: unknown): WeirError {
  return new WeirError('ANSWER_INVALID', `what listens on ${socketPath} is not weir-agent: ${what}`, { cause });
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
