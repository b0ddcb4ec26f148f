/** Text of a kubeconfig file with one cluster and one user. */
export function kubeconfig(server: string, token: string, certificate?: string): string {
  const authority =
    certificate === undefined
      ? ''
      : `\n      certificate-authority-data: ${Buffer.from(certificate).toString('base64')}`;
  return `apiVersion: v1
kind: Config
clusters:
  - name: test
    cluster:
      server: ${server}${authority}
users:
  - name: user
    user:
      token: ${token}
contexts:
  - name: test
    context: { cluster: test, user: user }
current-context: test
`;
}
