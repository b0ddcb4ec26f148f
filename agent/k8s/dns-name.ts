/** The forms of names that Kubernetes accepts (RFC 1123 §2.1 as its API conventions restrict it). */

const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const LABEL_PATTERN = new RegExp(`^${LABEL}$`);
const SUBDOMAIN_PATTERN = new RegExp(`^${LABEL}(\\.${LABEL})*$`);

/** What is wrong with `name` as a DNS label, or undefined. */
export function dnsLabelFault(name: string): string | undefined {
  if (name.length > 63) return `is ${name.length} characters long; at most 63 are allowed`;
  if (!LABEL_PATTERN.test(name)) {
    return 'must consist of lower case letters, digits and "-", and start and end with a letter or digit';
  }
  return undefined;
}

/** What is wrong with `name` as a DNS subdomain, or undefined. */
export function dnsSubdomainFault(name: string): string | undefined {
  if (name.length > 253) return `is ${name.length} characters long; at most 253 are allowed`;
  if (!SUBDOMAIN_PATTERN.test(name)) {
    return 'must consist of lower case letters, digits, "-" and ".", and each part must start and end with a letter or digit';
  }
  return undefined;
}
