/** The program `weir-cni`: one request in, one result out. */
import { run } from './commands/run.ts';
import { nodeRuntime } from './node-runtime.ts';

void run(nodeRuntime()).then((code) => process.exit(code));
