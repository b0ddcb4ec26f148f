/** One endpoint's hold on its policy: its own proxy ports and its own callback over what its identity shares. */
import type { IdentityId } from '../model/identity.ts';
import type { MapStateChanges } from '../model/mapstate.ts';
import type { EndpointPolicy, EndpointPolicyRequest, NamedPort, Redirect, RedirectPolicy } from './contract.ts';
import type { ClassChange } from './distillation.ts';
import type { IdentityTable } from './identities.ts';
import { EntryForm, MapState, type Distilled } from './mapstate.ts';
import type { PolicyUser, SelectorPolicy } from './selectorpolicy.ts';

export class EndpointHandle implements EndpointPolicy, PolicyUser {
  readonly identity: IdentityId;
  readonly mapState: MapState;
  namedPorts: readonly NamedPort[];
  readonly #policy: SelectorPolicy;
  readonly #onChange: EndpointPolicyRequest['onChange'];
  readonly #onDispose: () => void;

  constructor(
    request: EndpointPolicyRequest,
    policy: SelectorPolicy,
    identities: IdentityTable,
    onDispose: () => void,
  ) {
    this.identity = request.identity;
    this.namedPorts = request.namedPorts ?? [];
    this.#policy = policy;
    this.#onChange = request.onChange;
    this.#onDispose = onDispose;
    const form = new EntryForm(request.proxyPort ?? (() => 1));
    this.mapState = new MapState(policy.attach(this), identities, form);
  }

  get revision(): number {
    return this.#policy.revision;
  }

  get enforced(): EndpointPolicy['enforced'] {
    return this.#policy.enforced;
  }

  get defaultDeny(): EndpointPolicy['defaultDeny'] {
    return this.#policy.defaultDeny;
  }

  get audited(): EndpointPolicy['audited'] {
    return this.#policy.audited;
  }

  get error(): EndpointPolicy['error'] {
    return this.#policy.error;
  }

  get warnings(): readonly string[] {
    const { ingress, egress } = this.mapState.distilled;
    return [...new Set([...ingress.warnings, ...egress.warnings])];
  }

  redirects(): readonly Redirect[] {
    const { ingress, egress } = this.mapState.distilled;
    return [...ingress.redirects(), ...egress.redirects()];
  }

  redirectPolicies(): readonly RedirectPolicy[] {
    const { ingress, egress } = this.mapState.distilled;
    return [...ingress.redirectPolicies(), ...egress.redirectPolicies()];
  }

  update(change: { readonly namedPorts?: readonly NamedPort[]; readonly proxyPorts?: boolean }): void {
    if (change.namedPorts !== undefined) {
      this.#policy.detachLater(this, () => {
        this.namedPorts = change.namedPorts!;
        this.resolved(this.#policy.attach(this));
      });
    }
    if (change.proxyPorts === true) {
      const { changed, formerly } = this.mapState.form.refresh(this.redirects());
      if (changed.size > 0) this.#tell(this.mapState.rewritten(changed, formerly));
    }
  }

  dispose(): void {
    this.#policy.detach(this);
    this.#onDispose();
  }

  resolved(distilled: Distilled): number {
    const changes = this.mapState.replace(distilled);
    this.#tell(changes);
    return changes.size;
  }

  moved(direction: 'ingress' | 'egress', changes: readonly ClassChange[]): void {
    const made = this.mapState.changes(direction, changes);
    if (made.size > 0) this.#tell(made);
  }

  #tell(changes: MapStateChanges): void {
    this.#onChange?.(changes, this);
  }
}
