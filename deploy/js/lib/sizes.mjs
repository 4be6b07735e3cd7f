// The size of an output axis as an expression of input axes, such as "(seq + 1) // 2": names, whole numbers,
// + - * // % (rounding down), max, min and parentheses, as deploy/cpp/src/sizes.cpp and exporter/declare/sizes.py read it.

const LARGEST = 2 ** 40, DEEPEST = 64;
const TOKEN = / *(\d+|[A-Za-z_][A-Za-z0-9_]*|\/\/|[-+*%(),]) */y;

/**
 * The expression's value; null where it is malformed, names an axis that is not in `sizes`, divides by zero or leaves the
 * sizes that a tensor can have.
 * @param {string} expression @param {Map<string, number>} sizes
 */
export function evaluate(expression, sizes) {
  try {
    return valueOf(tokensOf(expression), sizes);
  } catch (error) {
    if (error instanceof NoSize) return null;
    throw error;
  }
}

class NoSize extends Error {}

function inRange(value) {
  if (!(Math.abs(value) <= LARGEST)) throw new NoSize();
  return value;
}

function tokensOf(text) {
  const tokens = [];
  for (TOKEN.lastIndex = 0; TOKEN.lastIndex < text.length;) {
    const found = TOKEN.exec(text);
    if (!found) throw new NoSize();
    tokens.push(found[1]);
  }
  return tokens;
}

function valueOf(tokens, sizes) {
  let at = 0;
  const take = (...wanted) => (wanted.includes(tokens[at]) ? tokens[at++] : null);
  const close = (value) => {
    if (!take(')')) throw new NoSize();
    return value;
  };
  const sum = (depth) => {
    let value = term(depth);
    for (let op; (op = take('+', '-'));) value = inRange(op === '+' ? value + term(depth) : value - term(depth));
    return value;
  };
  const term = (depth) => {
    let value = factor(depth);
    for (let op; (op = take('*', '//', '%'));) {
      const other = factor(depth);
      if (op !== '*' && other === 0) throw new NoSize();
      value = inRange(op === '*' ? value * other : op === '//' ? Math.floor(value / other) : value - Math.floor(value / other) * other);
    }
    return value;
  };
  const choice = (pick, depth) => {
    let value = sum(depth);
    while (take(',')) value = pick(value, sum(depth));
    return close(value);
  };
  const factor = (depth) => {
    if (depth > DEEPEST) throw new NoSize();
    if (take('-')) return inRange(-factor(depth + 1));
    if (take('(')) return close(sum(depth + 1));
    const token = tokens[at++] ?? '';
    if (/^\d/.test(token)) return inRange(Number(token));
    if ((token === 'max' || token === 'min') && take('(')) return choice(Math[token], depth + 1);
    if (!sizes.has(token)) throw new NoSize();
    return sizes.get(token);
  };
  const value = sum(0);
  if (at !== tokens.length) throw new NoSize();
  return value;
}
