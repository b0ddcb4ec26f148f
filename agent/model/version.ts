/** Version of the programs; `hack/build-bundles.ts` writes it into each bundle. */
export const VERSION: string = process.env['WEIR_VERSION'] ?? '0.0.0-dev';
