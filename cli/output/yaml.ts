/** In a file of its own to be loaded on demand: of a CommonJS package imported so, a bundle knows no names. */
export { stringify } from 'yaml';
