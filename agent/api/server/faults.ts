import type { FastifyReply, FastifyRequest } from 'fastify';
import { WeirError } from '../../model/errors.ts';
import type { ApiErrorDetails } from '../models.ts';
import { ERROR_HEADER } from '../transport.ts';

/** The part of a validation fault of ajv that says what is wrong where. */
interface SchemaFault {
  readonly instancePath: string;
  readonly message?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/**
 * Answers a fault: the full text as a JSON string, as the peer's clients expect, and its parts in a header.
 */
export function sendFault(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  status = asWeirError(error).status,
): void {
  const fault = asWeirError(error);
  if (status >= 500 && fault.code !== 'AGENT_STARTING')
    request.log.error({ err: error, code: fault.code }, fault.describe());
  const details: ApiErrorDetails = {
    code: fault.code,
    message: fault.message,
    ...(fault.object !== undefined && { object: fault.object }),
    ...(fault.field !== undefined && { field: fault.field }),
    remedy: fault.remedy,
  };
  void reply
    .code(status)
    .header(ERROR_HEADER, encodeURIComponent(JSON.stringify(details)))
    .type('application/json')
    .send(JSON.stringify(fault.describe()));
}

function asWeirError(error: unknown): WeirError {
  if (error instanceof WeirError) return error;
  // Something went wrong while something that had gone wrong was undone: what started it counts.
  if (error instanceof SuppressedError) return asWeirError(error.suppressed);
  if (error instanceof Error && 'validation' in error && Array.isArray(error.validation)) {
    const where = 'validationContext' in error ? String(error.validationContext) : 'body';
    return invalid(error.validation as SchemaFault[], where);
  }
  if (
    error instanceof Error &&
    'statusCode' in error &&
    typeof error.statusCode === 'number' &&
    error.statusCode < 500
  ) {
    return new WeirError('REQUEST_INVALID', error.message, { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new WeirError('INTERNAL', message, { cause: error });
}

function invalid(faults: readonly SchemaFault[], where: string): WeirError {
  const { instancePath, message = 'does not fit', params = {} } = faults[0]!;
  const extra = params['additionalProperty'] ?? params['missingProperty'];
  const path = [...instancePath.split('/').slice(1), ...(typeof extra === 'string' ? [extra] : [])].join('.');
  const allowed = Array.isArray(params['allowedValues']) ? `: ${params['allowedValues'].join(', ')}` : '';
  return new WeirError('REQUEST_INVALID', `${message}${allowed}`, { field: path === '' ? where : `${where}.${path}` });
}
