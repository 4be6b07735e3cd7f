// Two small SVG plots, drawn without a library.

const WIDTH = 720, HEIGHT = 180, LEFT = 56, BOTTOM = 24, TOP = 20;
const NS = 'http://www.w3.org/2000/svg';
const MOST_LINES = 32, LETTER = 8;

function element(name, attributes, text = '') {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return node;
}

function frame(label) {
  const svg = element('svg', { class: 'plot', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': label });
  svg.append(element('line', { class: 'axis', x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
  return svg;
}

/** Microseconds as a person reads them. */
export function duration(us) {
  const [value, unit] = us < 1000 ? [us, 'µs'] : us < 1e6 ? [us / 1000, 'ms'] : [us / 1e6, 's'];
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** A latency histogram ({edges, counts}, both axes logarithmic, so that one slow frame shows) with `marks` {label: us}. */
export function histogram({ edges, counts }, marks) {
  const svg = frame('latency histogram');
  const [low, high] = [Math.log(edges[0]), Math.log(edges.at(-1))], ground = HEIGHT - BOTTOM;
  const x = (us) => LEFT + ((Math.log(us) - low) / (high - low)) * (WIDTH - LEFT);
  const y = (count) => ground - (Math.log1p(count) / Math.log1p(Math.max(...counts))) * (ground - TOP);
  counts.forEach((count, i) => {
    if (!count) return;
    const width = Math.max(1, x(edges[i + 1]) - x(edges[i]) - 1);
    const bar = element('rect', { class: 'bar', x: x(edges[i]), y: y(count), width, height: ground - y(count) });
    bar.append(element('title', {}, `${count} frames of ${duration(edges[i])} to ${duration(edges[i + 1])}`));
    svg.append(bar);
  });
  for (const count of tens(1, Math.max(...counts)))
    svg.append(element('text', { x: LEFT - 6, y: y(count) + 4, 'text-anchor': 'end' }, count.toLocaleString('en')));
  for (const us of roundValues(edges[0], edges.at(-1)))
    svg.append(element('text', { x: x(us), y: HEIGHT - 8, 'text-anchor': 'middle' }, duration(us)));
  // from the right, so that labels neither overlap nor leave the picture
  let free = WIDTH;
  for (const [label, us] of Object.entries(marks).reverse()) {
    svg.append(element('line', { class: 'middle', x1: x(us), x2: x(us), y1: TOP - 4, y2: ground }));
    const place = Math.min(x(us), free - LETTER * label.length);
    svg.append(element('text', { x: place, y: TOP - 8 }, label));
    free = place - LETTER;
  }
  return svg;
}

/** Lines over time, one per row of `series` (the first 32 of more), on a common scale. */
export function lines(series, label) {
  const shown = series.slice(0, MOST_LINES), values = shown.flat();
  const low = values.reduce((a, b) => Math.min(a, b)), high = values.reduce((a, b) => Math.max(a, b)), span = high - low || 1;
  const svg = frame(label);
  const y = (value) => 8 + (1 - (value - low) / span) * (HEIGHT - BOTTOM - 12);
  for (const row of shown) {
    const step = (WIDTH - LEFT) / Math.max(1, row.length - 1);
    const points = row.map((value, i) => `${(LEFT + i * step).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    svg.append(element('polyline', { class: 'mark', points, 'stroke-opacity': Math.max(0.25, 1 / Math.sqrt(shown.length)) }));
  }
  for (const value of [low, high])
    svg.append(element('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, value.toPrecision(3)));
  const part = series.length > shown.length ? `, ${shown.length} of ${series.length} channels` : '';
  svg.append(element('text', { x: LEFT, y: HEIGHT - 8 }, label + part));
  return svg;
}

// 1, 10, 100, ... from `low` to `high`.
function tens(low, high) {
  const values = [];
  for (let value = 10 ** Math.ceil(Math.log10(low)); value <= high; value *= 10) values.push(value);
  return values;
}

// 1, 2 and 5 times a power of ten between `low` and `high`; powers alone where those would crowd.
function roundValues(low, high) {
  const powers = tens(low / 10, high);
  const all = powers.flatMap((power) => [power, 2 * power, 5 * power]).filter((value) => value >= low && value <= high);
  return all.length <= 8 ? all : powers.filter((value) => value >= low);
}
