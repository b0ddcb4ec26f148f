/** Shell completion: the shells ask `weir __complete`, which walks the tree of commands. */
import { Command, type Option } from 'commander';
import type { ApiClient } from '../agent/api/client.ts';
import { WeirError } from '../agent/model/errors.ts';
import type { Runner } from './context.ts';

export interface Candidate {
  readonly word: string;
  readonly description: string;
}

/** What may stand at the end of `words`, the last of which is begun, perhaps empty. */
export interface Completion {
  readonly candidates: readonly Candidate[];
  /** Something that only the agent can list. */
  readonly ask?: 'endpoints' | 'maps' | 'identities';
}

/** Pure: what the tree of commands itself allows. */
export function completeWords(program: Command, words: readonly string[]): Completion {
  const begun = words.at(-1) ?? '';
  let command = program;
  let positional = 0;
  const options = [...program.options];
  for (let i = 0; i < words.length - 1; i++) {
    const word = words[i]!;
    const option = findOption(options, word);
    if (option !== undefined) {
      if (takesValue(option) && !word.includes('=')) i++;
      // The value of this option is what is being written.
      if (i >= words.length - 1) return { candidates: matching(optionValues(option), begun) };
      continue;
    }
    const next = command.commands.find((c) => c.name() === word || c.aliases().includes(word));
    if (next !== undefined && positional === 0) {
      command = next;
      options.push(...command.options);
    } else positional++;
  }
  if (begun.startsWith('-')) {
    const longs = options.map((o) => ({ word: o.long ?? o.short ?? '', description: o.description }));
    return { candidates: matching([...longs, { word: '--help', description: 'show help' }], begun) };
  }
  const names = command.commands
    .filter((c) => !c.name().startsWith('_'))
    .map((c) => ({ word: c.name(), description: c.description() }));
  const choices = command.registeredArguments[positional]?.argChoices ?? [];
  const candidates = matching([...names, ...choices.map((word) => ({ word, description: '' }))], begun);
  const ask = names.length > 0 ? undefined : askFor(command, positional);
  return ask === undefined ? { candidates } : { candidates, ask };
}

function findOption(options: readonly Option[], word: string): Option | undefined {
  const name = word.split('=', 1)[0]!;
  return name.startsWith('-') ? options.find((o) => o.long === name || o.short === name) : undefined;
}

const takesValue = (option: Option): boolean => option.required || option.optional;

function optionValues(option: Option): Candidate[] {
  const values = option.argChoices ?? (option.long === '--output' ? ['json', 'yaml', 'jsonpath='] : []);
  return values.map((word) => ({ word, description: '' }));
}

function askFor(command: Command, positional: number): Completion['ask'] {
  if (positional > 0 && command.registeredArguments.at(-1)?.variadic !== true) return undefined;
  const path = [command.parent?.name(), command.name()].join(' ');
  if (command.registeredArguments.length === 0) return undefined;
  if (command.parent?.name() === 'endpoint' || path === 'policy get' || path === 'ct list') return 'endpoints';
  if (path === 'map get') return 'maps';
  return path === 'identity get' ? 'identities' : undefined;
}

const matching = (all: readonly Candidate[], begun: string): Candidate[] => all.filter((c) => c.word.startsWith(begun));

async function ask(client: ApiClient, what: Completion['ask']): Promise<Candidate[]> {
  switch (what) {
    case undefined:
      return [];
    case 'endpoints':
      return (await client.endpoints()).map((endpoint) => {
        const names = endpoint.status?.['external-identifiers'];
        return { word: String(endpoint.id), description: names?.['pod-name'] ?? names?.['k8s-pod-name'] ?? '' };
      });
    case 'maps':
      return ((await client.maps()).maps ?? []).map((map) => ({
        word: (map.path ?? '').split('/').at(-1)!,
        description: '',
      }));
    case 'identities':
      return (await client.identities()).map(({ id, labels }) => ({
        word: String(id ?? 0),
        description: (labels ?? []).join(' '),
      }));
  }
}

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

const SCRIPTS: Readonly<Record<(typeof SHELLS)[number], string>> = {
  bash: `# bash completion of weir; load it with: source <(weir completion bash)
_weir() {
  local line
  COMPREPLY=()
  while IFS=$'\\t' read -r line _; do
    COMPREPLY+=("$line")
  done < <("\${COMP_WORDS[0]}" __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  [[ \${#COMPREPLY[@]} -eq 1 && \${COMPREPLY[0]} == *= ]] && compopt -o nospace
}
complete -F _weir weir
`,
  zsh: `#compdef weir
# zsh completion of weir; load it with: source <(weir completion zsh)
_weir() {
  local -a candidates
  local word description
  while IFS=$'\\t' read -r word description; do
    candidates+=("\${word//:/\\\\:}:$description")
  done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  _describe 'weir' candidates
}
if [ "$funcstack[1]" = "_weir" ]; then _weir "$@"; else compdef _weir weir; fi
`,
  fish: `# fish completion of weir; load it with: weir completion fish | source
function __weir_complete
  set -l words (commandline -opc) (commandline -ct)
  $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c weir -f -a '(__weir_complete)'
`,
};

/** `weir completion SHELL` */
export function completionCommand(runner: Runner): Command {
  const command = new Command('completion').description('print a completion script for a shell');
  command.addArgument(command.createArgument('<shell>', 'your shell').choices(SHELLS));
  return runner.action(command, async (context, [shell]) => {
    await context.write(SCRIPTS[shell as (typeof SHELLS)[number]]);
  });
}

/** The hidden command that the scripts call: one candidate a line, with its description behind a tab. */
export function completeCommand(runner: Runner, program: Command): Command {
  const command = new Command('__complete').argument('[words...]').allowUnknownOption();
  return runner.action(command, async (context, words) => {
    const { candidates, ask: what } = completeWords(program, words);
    let asked: Candidate[] = [];
    try {
      asked = matching(await ask(context.client, what), words.at(-1) ?? '');
    } catch (thrown) {
      // Without an agent there is less to offer, and a completion is no place to complain.
      if (!(thrown instanceof WeirError)) throw thrown;
    }
    const lines = [...candidates, ...asked].map(
      (c) => `${c.word}${c.description === '' ? '' : `\t${c.description}`}\n`,
    );
    await context.write(lines.join(''));
  });
}
