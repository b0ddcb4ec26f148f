/** Events are kept in their core form; `events.k8s.io` shows the same objects under newer field names. */
import type { Json } from './object.ts';

/** Core field → field of events.k8s.io/v1. */
const FIELDS = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
] as const;

export function eventFromCore(core: Json): Json {
  return renamed(core, new Map(FIELDS), 'events.k8s.io/v1');
}

export function eventToCore(event: Json): Json {
  return renamed(event, new Map(FIELDS.map(([older, newer]) => [newer, older])), 'v1');
}

function renamed(object: Json, names: ReadonlyMap<string, string>, apiVersion: string): Json {
  return {
    ...Object.fromEntries(Object.entries(object).map(([field, value]) => [names.get(field) ?? field, value])),
    apiVersion,
  };
}
