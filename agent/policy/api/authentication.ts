import type { AuthMode } from '../rule.ts';
import { object, oneOf, then, type Decoder } from './decode.ts';

const MODES: readonly AuthMode[] = ['disabled', 'required', 'test-always-fail'];

/** `authentication`: undefined when no mode is given, which inherits that of less specific rules (S11). */
export const authentication: Decoder<AuthMode> = then(object({ mode: oneOf('mode', MODES) }), ({ mode }, reading) => {
  if (mode === undefined) reading.schemaIssue('no mode is given', { remedy: `set mode to one of ${MODES.join(', ')}` });
  return mode ?? null;
});
