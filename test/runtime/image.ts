import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { run } from '../harness/exec.ts';

/** Name of the image that {@link writeImage} makes. */
export const IMAGE = 'weir.test/busybox:1';

const APPLETS = ['sh', 'sleep', 'ip', 'ls', 'cat'];

/**
 * Writes an OCI image layout as a tar file: one layer with Debian's static busybox, that sleeps until it is killed.
 * No registry is asked.
 */
export function writeImage(folder: string): string {
  const layer = path.join(folder, 'layer');
  mkdirSync(path.join(layer, 'bin'), { recursive: true });
  for (const name of ['proc', 'sys', 'dev', 'etc', 'tmp']) mkdirSync(path.join(layer, name));
  copyFileSync('/bin/busybox', path.join(layer, 'bin/busybox'));
  for (const applet of APPLETS) symlinkSync('busybox', path.join(layer, 'bin', applet));
  const layerTar = path.join(folder, 'layer.tar');
  run(['tar', '-C', layer, '--owner=0', '--group=0', '-cf', layerTar, '.']);

  const layout = path.join(folder, 'layout');
  mkdirSync(path.join(layout, 'blobs/sha256'), { recursive: true });
  const blob = (mediaType: string, bytes: Buffer): Descriptor => {
    const hex = createHash('sha256').update(bytes).digest('hex');
    writeFileSync(path.join(layout, 'blobs/sha256', hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

  const root = blob('application/vnd.oci.image.layer.v1.tar', readFileSync(layerTar));
  const config = blob(
    'application/vnd.oci.image.config.v1+json',
    json({
      architecture: 'amd64',
      os: 'linux',
      config: { Entrypoint: ['/bin/sleep', '1000000'] },
      rootfs: { type: 'layers', diff_ids: [root.digest] },
    }),
  );
  const manifestType = 'application/vnd.oci.image.manifest.v1+json';
  const manifest = blob(manifestType, json({ schemaVersion: 2, mediaType: manifestType, config, layers: [root] }));
  const annotations = { 'io.containerd.image.name': IMAGE, 'org.opencontainers.image.ref.name': '1' };
  writeFileSync(path.join(layout, 'index.json'), json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }));
  writeFileSync(path.join(layout, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }));
  const tar = path.join(folder, 'image.tar');
  run(['tar', '-C', layout, '-cf', tar, 'oci-layout', 'index.json', 'blobs']);
  return tar;
}

/** How one part of an image names another. */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}
