// JSON Schema 2020-12, as much of it as the schemas of this project use.

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const length = (string) => [...string].length; // in characters, as the other readers count them
const TYPES = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  number: (value) => typeof value === 'number',
  integer: Number.isInteger,
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};
// Each says what is wrong with a value of its kind; `check` goes on into what lies inside.
const KEYWORDS = {
  $schema: () => '', title: () => '', $defs: () => '',
  $ref: (given, value, { check, root }) => check(root.$defs[given.slice('#/$defs/'.length)], value),
  type: (given, value) => ([given].flat().some((type) => TYPES[type](value)) ? '' : `it is not ${[given].flat().join(' or ')}`),
  enum: (given, value) => (given.includes(value) ? '' : `it is not one of ${given.join(', ')}`),
  not: (given, value, { check }) => (check(given, value) ? '' : 'it is spelled in a way that is refused'),
  minimum: (given, value) => (typeof value !== 'number' || value >= given ? '' : `it is below ${given}`),
  maximum: (given, value) => (typeof value !== 'number' || value <= given ? '' : `it is above ${given}`),
  minLength: (given, value) => (typeof value !== 'string' || length(value) >= given ? '' : 'it is too short'),
  maxLength: (given, value) => (typeof value !== 'string' || length(value) <= given ? '' : 'it is too long'),
  pattern: (given, value) => (typeof value !== 'string' || new RegExp(given, 'u').test(value) ? '' : 'it is not spelled as it should be'),
  minItems: (given, value) => (!Array.isArray(value) || value.length >= given ? '' : 'it has too few entries'),
  maxItems: (given, value) => (!Array.isArray(value) || value.length <= given ? '' : 'it has too many entries'),
  maxProperties: (given, value) => (!isObject(value) || Object.keys(value).length <= given ? '' : 'it has too many keys'),
  required: (given, value) => {
    const lost = isObject(value) && given.find((name) => !Object.hasOwn(value, name));
    return lost ? `it has no ${lost}` : '';
  },
  items: (given, value, { inside }) => (Array.isArray(value) ? inside(value.map((item, i) => [i, given, item])) : ''),
  properties: (given, value, { inside }) => (isObject(value)
    ? inside(Object.entries(value).filter(([name]) => Object.hasOwn(given, name)).map(([name, item]) => [name, given[name], item])) : ''),
  propertyNames: (given, value, { inside }) => (isObject(value) ? inside(Object.keys(value).map((name) => [name, given, name])) : ''),
  additionalProperties: (given, value, { inside, rule }) => (isObject(value)
    ? inside(Object.entries(value).filter(([name]) => !Object.hasOwn(rule.properties ?? {}, name)).map(([name, item]) => [name, given, item])) : ''),
};

/**
 * What is wrong with `value` by the schema `root`, with its place; empty where nothing is. A keyword that is not known here
 * refuses everything: a schema that says more than its readers understand must not pass for checked.
 */
export function violation(root, value) {
  let place = [];
  const inside = (parts) => {
    for (const [key, rule, item] of parts) {
      const found = check(rule, item);
      if (found) {
        place.unshift(key);
        return found;
      }
    }
    return '';
  };
  const check = (rule, item) => {
    if (typeof rule === 'boolean') return rule ? '' : 'it is not known here';
    for (const [keyword, given] of Object.entries(rule)) {
      if (!Object.hasOwn(KEYWORDS, keyword)) return `it cannot be checked: the keyword ${keyword} is not known here`;
      const found = KEYWORDS[keyword](given, item, { check, inside, rule, root });
      if (found) return found;
    }
    return '';
  };
  const found = check(root, value);
  return found && place.length ? `at ${place.join('/')}, ${found}` : found;
}
