/** `labels` of a rule: names for people, as texts or as objects. */
import type { Label } from '../../model/labels.ts';
import { isObject, list, type Decoder } from './decode.ts';

const ruleLabel: Decoder<Label> = (value, reading) => {
  const remedy = 'write source:key=value, or an object with key, value and source';
  if (typeof value === 'string') return textLabel(value) ?? reading.issue('the label has no key', { value, remedy });
  if (!isObject(value)) return reading.wrongType(value, 'a label');
  const { source = '', key = '', value: text = '', ...others } = value;
  if (typeof source !== 'string' || typeof key !== 'string' || typeof text !== 'string') {
    return reading.issue('key, value and source must be strings', { value, remedy });
  }
  if (key === '') return reading.issue('the label has no key', { value, remedy });
  for (const [name, other] of Object.entries(others)) reading.unknownField(name, other, ['key', 'value', 'source']);
  return { source: source === '' ? 'unspec' : source, key, value: text };
};

export const ruleLabels = list(ruleLabel);

function textLabel(text: string): Label | undefined {
  const [, source, key = '', value = ''] = /^(?:([^:=]*):)?([^=]*)=?(.*)$/s.exec(text) ?? [];
  return key === '' ? undefined : { source: source === undefined || source === '' ? 'unspec' : source, key, value };
}
