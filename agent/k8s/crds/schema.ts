/** The part of OpenAPI v3 that CustomResourceDefinitions take (structural schemas), and words to write it with. */

/** A rule in CEL; `oldSelf` makes it one about changes. */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
}

export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly format?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly enum?: readonly string[];
  readonly default?: unknown;
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly nullable?: boolean;
  readonly anyOf?: readonly Junction[];
  readonly oneOf?: readonly Junction[];
  readonly 'x-kubernetes-int-or-string'?: boolean;
  readonly 'x-kubernetes-list-type'?: 'atomic' | 'set' | 'map';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  readonly 'x-kubernetes-preserve-unknown-fields'?: boolean;
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
}

/** What a structural schema may say inside of anyOf and oneOf: which fields there are, not what they look like. */
export type Junction = Pick<Schema, 'required' | 'type'>;

type More = Omit<Schema, 'type' | 'properties' | 'items' | 'additionalProperties' | 'description'>;

export const text = (description: string, more: More = {}): Schema => ({ type: 'string', description, ...more });

export const flag = (description: string): Schema => ({ type: 'boolean', description });

export const integer = (description: string, more: More = {}): Schema => ({ type: 'integer', description, ...more });

/** A number that may need more than 32 bits. */
export const long = (description: string, more: More = {}): Schema =>
  integer(description, { format: 'int64', ...more });

export const choice = (description: string, values: readonly string[], more: More = {}): Schema =>
  text(description, { enum: values, ...more });

export const list = (description: string, items: Schema, more: More = {}): Schema => ({
  type: 'array',
  description,
  items,
  ...more,
});

export const map = (description: string, values: Schema): Schema => ({
  type: 'object',
  description,
  additionalProperties: values,
});

export const object = (description: string, properties: Readonly<Record<string, Schema>>, more: More = {}): Schema => ({
  type: 'object',
  description,
  properties,
  ...more,
});

/** One of these fields, and no other of them. */
export const exactlyOne = (...fields: readonly string[]): Pick<Schema, 'oneOf'> => ({
  oneOf: fields.map((field) => ({ required: [field] })),
});

/** One of these fields at least. */
export const atLeastOne = (...fields: readonly string[]): Pick<Schema, 'anyOf'> => ({
  anyOf: fields.map((field) => ({ required: [field] })),
});
