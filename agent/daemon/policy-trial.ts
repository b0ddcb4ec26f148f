import type { PolicyTrial as TrialModel, PolicyTrialRequest } from '../api/models.ts';
import type { TrialApi } from '../api/server/contract.ts';
import { parseManifest } from '../k8s/parse-manifest.ts';
import type { Clock } from '../model/clock.ts';
import { WeirError } from '../model/errors.ts';
import { resourceName, type Resource } from '../model/resource.ts';
import { decodePolicy, formatIssue, type DecodeOptions } from '../policy/api/index.ts';
import type { Rule } from '../policy/rule.ts';
import { isPolicyKind, type PolicyImporter } from './policy-importer.ts';

/** What a trial needs of the importer. */
export type TrialImporter = Pick<PolicyImporter, 'inForce' | 'put' | 'settled'>;

export interface PolicyTrialOptions {
  readonly decode: DecodeOptions;
  readonly clock: Clock;
  readonly log: (message: string, policies: readonly string[]) => void;
}

/** An object on trial, and what was in force in its place; undefined when nothing was. */
interface Tried {
  readonly resource: Resource;
  readonly rules: readonly Rule[];
  readonly before: readonly Rule[] | undefined;
}

/**
 * Policies in force for a while, on this node alone. Unless somebody confirms in time, what was in force before comes back:
 * whoever cuts the node off from its API server, or himself from the node, has only to wait. An agent that ends has
 * forgotten them. Where an object comes from has the last word: what it says of an object on trial stands.
 */
export class PolicyTrial implements TrialApi {
  readonly #options: PolicyTrialOptions;
  #importer: TrialImporter | undefined;
  #tried = new Map<string, Tried>();
  #expires = 0;
  #cancel: (() => void) | undefined;

  constructor(options: PolicyTrialOptions) {
    this.#options = options;
  }

  /** Policies come in from here on. */
  join(importer: TrialImporter): void {
    this.#importer = importer;
  }

  status(): TrialModel {
    const policies = [...this.#tried.keys()];
    return { policies, ...(policies.length > 0 && { 'expires-at': new Date(this.#expires).toISOString() }) };
  }

  async begin({ manifest, seconds }: PolicyTrialRequest): Promise<TrialModel> {
    if (this.#tried.size > 0) {
      throw new WeirError('TRIAL_RUNNING', 'other policies are on trial', {
        object: this.status().policies.join(', '),
      });
    }
    const { clock, log } = this.#options;
    const importer = this.#joined();
    for (const tried of this.#read(manifest)) this.#tried.set(resourceName(tried.resource), tried);
    this.#expires = clock.now() + seconds * 1000;
    this.#cancel = clock.after(seconds * 1000, () => this.#end('nobody confirmed in time: taken back'));
    for (const { resource, rules } of this.#tried.values()) importer.put(resource, rules);
    log(`on trial for ${seconds} s`, this.status().policies);
    const begun = this.status();
    await importer.settled();
    return begun;
  }

  confirm(): TrialModel {
    this.#demand();
    const kept = this.status().policies;
    this.#cancel?.();
    this.#tried = new Map();
    this.#options.log('confirmed: in force until the agent ends, or their source says otherwise', kept);
    return { policies: kept };
  }

  async revert(): Promise<TrialModel> {
    this.#demand();
    const { policies } = this.status();
    this.#end('taken back');
    await this.#joined().settled();
    return { policies };
  }

  /** The source of an object has spoken: it is no longer on trial. */
  sourceSpoke(name: string): void {
    if (!this.#tried.delete(name)) return;
    this.#options.log('its source has another version: no longer on trial', [name]);
    if (this.#tried.size === 0) this.#cancel?.();
  }

  stop(): void {
    this.#cancel?.();
  }

  #end(message: string): void {
    const { log } = this.#options;
    const importer = this.#joined();
    this.#cancel?.();
    for (const { resource, before } of this.#tried.values()) importer.put(resource, before);
    log(message, this.status().policies);
    this.#tried = new Map();
  }

  #joined(): TrialImporter {
    if (this.#importer !== undefined) return this.#importer;
    throw new WeirError('AGENT_STARTING', 'policies are not known yet');
  }

  #demand(): void {
    if (this.#tried.size === 0) throw new WeirError('TRIAL_NOT_FOUND', 'no policies are on trial');
  }

  /** @throws WeirError REQUEST_INVALID, POLICY_INVALID: all of the manifest is good, or none of it is tried. */
  #read(manifest: string): Tried[] {
    const { decode } = this.#options;
    const importer = this.#joined();
    const { resources, issues } = parseManifest('manifest', manifest);
    const [issue] = issues;
    if (issue !== undefined) throw new WeirError('REQUEST_INVALID', issue.message, { field: 'body.manifest' });
    if (resources.length === 0) throw new WeirError('REQUEST_INVALID', 'has no objects', { field: 'body.manifest' });
    return resources.map((resource) => {
      const name = resourceName(resource);
      if (!isPolicyKind(resource.kind)) {
        throw new WeirError('REQUEST_INVALID', 'is no policy', { object: name, field: 'body.manifest' });
      }
      const result = decodePolicy(resource.object, decode);
      if (result.errors !== undefined) {
        const [first] = result.errors;
        throw new WeirError('POLICY_INVALID', formatIssue(first!, resource.positionOf?.(first!.field) ?? name), {
          object: name,
          field: first!.field,
        });
      }
      return { resource, rules: result.rules, before: importer.inForce(name) };
    });
  }
}
