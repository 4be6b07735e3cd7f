// JSON of unknown origin: what C++ and Python would read otherwise, or not at all, is refused here too.

const MOST_VALUES = 100000, DEEPEST = 32;
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g;

/**
 * The value that bytes or a string spell. Refused: what is not UTF-8, a byte order mark, syntax errors, a key that an
 * object repeats, half a surrogate pair, numbers beyond float64, more than 32 arrays and objects inside one another, and
 * more than 100000 keys and values.
 * @param {Uint8Array | string} content
 */
export function parseStrictly(content) {
  let value, text;
  try {
    text = typeof content === 'string' ? content : new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
    value = JSON.parse(text);
  } catch {
    throw new Error('it is not JSON');
  }
  scan(text);
  return value;
}

// The tokens of a text whose syntax is known to be right.
function scan(text) {
  const open = []; // the keys of each object, and nothing of each array
  let values = 0, last;
  for (const [token] of text.matchAll(TOKENS)) {
    if (token === ',') continue;
    if (token === ':') {
      const key = JSON.parse(last), keys = open.at(-1);
      if (keys.has(key)) throw new Error('it repeats a key');
      keys.add(key);
      continue;
    }
    last = token;
    if (token === '}' || token === ']') {
      open.pop();
      continue;
    }
    if (++values > MOST_VALUES) throw new Error('it has too many values');
    if (token === '{' || token === '[') open.push(new Set());
    else if (token[0] === '"' ? !JSON.parse(token).isWellFormed() : /^[-\d]/.test(token) && !Number.isFinite(Number(token)))
      throw new Error('it holds a number beyond float64 or half a surrogate pair');
    if (open.length > DEEPEST) throw new Error('it is nested too deeply');
  }
}
