/**
 * Registers Weir's custom resources, and upgrades those of an older Weir; never downgrades, and leaves alone what Cilium registered: its
 * agents may run still, they write what Weir's schemas do not have, and Weir gets along with its schemas.
 */
import type { Logger } from 'pino';
import { isRefusal, type ApiServer, type JsonObject } from '../agent/k8s/apiserver/client.ts';
import { delay } from '../agent/k8s/apiserver/retry.ts';
import {
  CUSTOM_RESOURCE_DEFINITIONS,
  SCHEMA_VERSION,
  SCHEMA_VERSION_LABEL,
  type CustomResourceDefinition,
} from '../agent/k8s/crds/index.ts';
import type { Clock } from '../agent/model/clock.ts';
import { getObject, metaOf, recordOf, recordsOf } from '../agent/k8s/apiserver/objects.ts';

const PATH = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

/** On the definitions that Cilium's operator keeps: the version of their schemas. */
const CILIUM_SCHEMA_LABEL = 'io.cilium.k8s.crd.schema.version';

/** Between looks at whether a definition is served yet, in milliseconds. */
const LOOK_MS = 200;

export interface RegisterOptions {
  readonly server: ApiServer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/**
 * Resolves when all definitions are there and served, or at the signal.
 *
 * @throws WeirError KUBERNETES_REFUSED, KUBERNETES_UNREACHABLE
 */
export async function registerDefinitions(options: RegisterOptions): Promise<void> {
  for (const crd of CUSTOM_RESOURCE_DEFINITIONS) await register(crd, options);
  for (const crd of CUSTOM_RESOURCE_DEFINITIONS) await established(crd, options);
}

async function register(crd: CustomResourceDefinition, options: RegisterOptions): Promise<void> {
  const { server, logger } = options;
  const path = `${PATH}/${crd.metadata.name}`;
  const there = await getObject(server, path);
  try {
    if (there === undefined) {
      await server.request({ method: 'POST', path: PATH, body: crd });
      logger.info({ definition: crd.metadata.name }, 'registered');
    } else if (isOfCilium(there) && servesOneOf(there, crd)) {
      logger.warn(
        { definition: crd.metadata.name },
        `is Cilium's, and is left alone: remove its label ${CILIUM_SCHEMA_LABEL} to have Weir's in its place`,
      );
    } else if (versionOf(there) < SCHEMA_VERSION) {
      await server.request({ method: 'PUT', path, body: upgraded(there, crd) });
      logger.info({ definition: crd.metadata.name, from: versionOf(there), to: SCHEMA_VERSION }, 'upgraded');
    } else if (versionOf(there) > SCHEMA_VERSION) {
      logger.warn({ definition: crd.metadata.name }, 'is of a newer Weir, and is left alone');
    }
  } catch (error) {
    // Another operator was faster: what it wrote is looked at again.
    if (!isRefusal(error, 409) || options.signal.aborted) throw error;
    await register(crd, options);
  }
}

/** 0 when the definition is not of Weir. */
function versionOf(crd: JsonObject): number {
  const version = Number(metaOf(crd).labels[SCHEMA_VERSION_LABEL]);
  return Number.isInteger(version) ? version : 0;
}

const isOfCilium = (crd: JsonObject): boolean => metaOf(crd).labels[CILIUM_SCHEMA_LABEL] !== undefined;

/** Whether a version is served that Weir reads. */
function servesOneOf(there: JsonObject, crd: CustomResourceDefinition): boolean {
  const read = recordsOf(crd.spec['versions']).map(({ name }) => name);
  return recordsOf(recordOf(there['spec'])['versions']).some(
    ({ name, served }) => served === true && read.includes(name),
  );
}

/**
 * Versions that the new definition lacks, and in which objects may be stored still, stay: a server refuses to forget them.
 */
function upgraded(there: JsonObject, crd: CustomResourceDefinition): JsonObject {
  const meta = recordOf(there['metadata']);
  const versions = recordsOf(crd.spec['versions']);
  const stored = recordOf(there['status'])['storedVersions'];
  const kept = recordsOf(recordOf(there['spec'])['versions']).filter(
    ({ name }) =>
      !versions.some((version) => version['name'] === name) && Array.isArray(stored) && stored.includes(name),
  );
  return {
    ...crd,
    metadata: { ...meta, labels: { ...recordOf(meta['labels']), ...crd.metadata.labels } },
    spec: { ...crd.spec, versions: [...versions, ...kept.map((version) => ({ ...version, storage: false }))] },
  };
}

async function established(
  crd: CustomResourceDefinition,
  { server, clock, logger, signal }: RegisterOptions,
): Promise<void> {
  let told = false;
  while (!signal.aborted) {
    const there = await getObject(server, `${PATH}/${crd.metadata.name}`);
    const conditions = recordsOf(recordOf(there?.['status'])['conditions']);
    const is = (type: string): string => String(conditions.find((condition) => condition['type'] === type)?.['status']);
    if (is('Established') === 'True') return;
    const refused = conditions.find(({ type, status }) => type === 'NamesAccepted' && status === 'False');
    if (refused !== undefined && !told) {
      told = true;
      logger.error({ definition: crd.metadata.name }, `is not served: ${String(refused['message'])}`);
    }
    await delay(clock, LOOK_MS, signal);
  }
}
