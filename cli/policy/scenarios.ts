import { open } from 'node:fs/promises';
import { errorText, WeirError } from '../../agent/model/errors.ts';
import { refuse } from './sources.ts';
import type { ScenarioLine } from '../../agent/policy/scenario.ts';

/**
 * The scenarios of files, a line each; empty lines are skipped. Lines are read one by one: files may be large.
 *
 * @throws WeirError REQUEST_INVALID for a file that cannot be read, or a line that is no scenario.
 */
export async function* readScenarios(files: readonly string[]): AsyncGenerator<ScenarioLine, void, void> {
  for (const file of files) {
    let number = 0;
    await using handle = await open(file).catch((error: unknown) => refuse(file, error));
    for await (const text of handle.readLines()) {
      number++;
      if (text.trim() !== '') yield parseLine(text, `${file}:${number}`);
    }
  }
}

function parseLine(text: string, place: string): ScenarioLine {
  const remedy = 'each line is a JSON object with a scenario: name, identities, policies, subjects, ports';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new WeirError('REQUEST_INVALID', errorText(error), { field: place, remedy, cause: error });
  }
  const { scenario } = (value ?? {}) as { readonly scenario?: Readonly<Record<string, unknown>> };
  const lists = ['identities', 'policies', 'subjects', 'ports'];
  const missing = lists.filter((name) => !Array.isArray(scenario?.[name]));
  if (missing.length > 0) {
    const message = scenario === undefined ? 'has no scenario' : `the scenario has no list ${missing.join(', ')}`;
    throw new WeirError('REQUEST_INVALID', message, { field: place, remedy });
  }
  return value as ScenarioLine;
}
