/** Certificates for tests, by openssl: authorities, and those whom they vouch for. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run } from './exec.ts';
import { uniqueName } from './run.ts';
import type { TlsFiles } from './etcd.ts';

/** An authority with a folder of its own, which goes with it. */
export class Authority implements Disposable {
  readonly certificate: string;
  readonly #directory = mkdtempSync(path.join(tmpdir(), `${uniqueName('ca')}-`));
  readonly #key: string;

  constructor(name: string) {
    this.certificate = path.join(this.#directory, 'ca.crt');
    this.#key = path.join(this.#directory, 'ca.key');
    run([...REQUEST, '-x509', '-days', '2', '-subj', `/CN=${name}`, '-keyout', this.#key, '-out', this.certificate]);
  }

  /** A certificate for both ends of a connection. @param address the server's */
  issue(name: string, address = '127.0.0.1'): TlsFiles {
    const file = (ending: string): string => path.join(this.#directory, `${name}.${ending}`);
    const [key, request, cert] = [file('key'), file('csr'), file('crt')];
    writeFileSync(file('ext'), `subjectAltName=IP:${address}\nextendedKeyUsage=serverAuth,clientAuth\n`);
    run([...REQUEST, '-subj', `/CN=${name}`, '-keyout', key, '-out', request]);
    run([
      ...['openssl', 'x509', '-req', '-days', '2', '-in', request, '-out', cert, '-extfile', file('ext')],
      ...['-CA', this.certificate, '-CAkey', this.#key, '-CAcreateserial'],
    ]);
    return { ca: this.certificate, cert, key };
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

const REQUEST = ['openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
