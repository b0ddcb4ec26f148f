/** Versions of the CNI specification that the plugin speaks; it answers in the version of the configuration. */
export const SUPPORTED_VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;

export type SpecVersion = (typeof SUPPORTED_VERSIONS)[number];

/** Answers in this version when the input names none that is supported. */
export const LATEST_VERSION: SpecVersion = '1.1.0';

export function isSupported(version: string): version is SpecVersion {
  return (SUPPORTED_VERSIONS as readonly string[]).includes(version);
}

/** Whether `version` is `since` or a later one. */
export function atLeast(version: SpecVersion, since: SpecVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(since);
}

/** Answer of the VERSION command: it repeats the version of its input (spec §"VERSION Success"). */
export interface VersionAnswer {
  readonly cniVersion: string;
  readonly supportedVersions: readonly string[];
}

export function versionAnswer(inputVersion: string | undefined): VersionAnswer {
  return { cniVersion: inputVersion ?? LATEST_VERSION, supportedVersions: SUPPORTED_VERSIONS };
}
