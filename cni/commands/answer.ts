import type { Endpoint, EndpointNetworking } from '../../agent/api/models.ts';
import type { Attachment } from '../spec/config.ts';
import { CNI_CODE, CniError } from '../spec/error.ts';
import type { Dns, Interface, Ip, Result, Route } from '../spec/result.ts';

/** RT_SCOPE_LINK: the destination is reached without a gateway. */
const SCOPE_LINK = 253;

/** Index of the pod's interface in the result's interfaces. */
const POD = 1;

/**
 * The result of ADD: the host's end of the link and the pod's, the pod's addresses with their gateways, and the routes
 * that the agent set in the pod: to each gateway over the link, and everything else by it.
 *
 * @throws CniError agentFailed when the agent's answer lacks what a result must have.
 */
export function resultOf(endpoint: Endpoint, attachment: Attachment & { readonly netns: string }, dns: Dns): Result {
  const networking = endpoint.status?.networking;
  if (networking === undefined) throw lacking('status.networking');
  const ips = addressesOf(networking);
  if (ips.length === 0) throw lacking('status.networking.addressing');
  const mtu = networking.mtu === undefined ? {} : { mtu: networking.mtu };
  const host: Interface = {
    name: networking['interface-name'] ?? fail('status.networking.interface-name'),
    mac: networking['host-mac'] ?? fail('status.networking.host-mac'),
    ...mtu,
  };
  const pod: Interface = {
    name: networking['container-interface-name'] ?? attachment.ifName,
    mac: networking.mac ?? fail('status.networking.mac'),
    ...mtu,
    sandbox: attachment.netns,
  };
  return { interfaces: [host, pod], ips, routes: ips.flatMap(routesBy), dns };
}

function addressesOf(networking: EndpointNetworking): readonly Ip[] {
  const gateways = networking['host-addressing'];
  return (networking.addressing ?? []).flatMap(({ ipv4, ipv6 }) => [
    ...ipOf(ipv4, 32, gateways?.ipv4?.ip, 'ipv4'),
    ...ipOf(ipv6, 128, gateways?.ipv6?.ip, 'ipv6'),
  ]);
}

function ipOf(address: string | undefined, length: number, gateway: string | undefined, family: string): readonly Ip[] {
  if (address === undefined || address === '') return [];
  if (gateway === undefined || gateway === '') throw lacking(`status.networking.host-addressing.${family}.ip`);
  return [{ address: `${address.replace(/\/.*$/, '')}/${length}`, gateway, interface: POD }];
}

function routesBy({ address, gateway }: Ip): readonly Route[] {
  if (gateway === undefined) return [];
  const is6 = address.includes(':');
  return [
    { dst: `${gateway}/${is6 ? 128 : 32}`, scope: SCOPE_LINK },
    { dst: is6 ? '::/0' : '0.0.0.0/0', gw: gateway },
  ];
}

function fail(field: string): never {
  throw lacking(field);
}

function lacking(field: string): CniError {
  return new CniError(
    CNI_CODE.agentFailed,
    `weir-agent's answer lacks ${field}`,
    'run weir-cni and weir-agent of the same version; the endpoint is removed again',
  );
}
