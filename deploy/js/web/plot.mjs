// Two small SVG plots, drawn without a library.

const WIDTH = 720, HEIGHT = 180, LEFT = 48, BOTTOM = 24;
const NS = 'http://www.w3.org/2000/svg';

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

/** Histogram of samples, the median marked; the axis ends at the 99 % quantile or at four medians. */
export function histogram(samples, unit, bins = 60) {
  const sorted = Float64Array.from(samples).sort();
  const low = sorted[0], middle = sorted[sorted.length >> 1];
  const high = Math.min(4 * middle, sorted[Math.floor(0.99 * (sorted.length - 1))]);
  const span = high - low || 1;
  const counts = new Array(bins).fill(0);
  for (const sample of sorted) if (sample <= high) counts[Math.min(bins - 1, Math.floor(((sample - low) / span) * bins))]++;
  const svg = frame(`latency histogram, median ${middle.toFixed(0)} ${unit}`);
  const x = (value) => LEFT + ((value - low) / span) * (WIDTH - LEFT);
  const tallest = Math.max(...counts), width = (WIDTH - LEFT) / bins;
  counts.forEach((count, i) => {
    const height = (count / tallest) * (HEIGHT - BOTTOM - 12);
    svg.append(element('rect', { class: 'bar', x: LEFT + i * width, y: HEIGHT - BOTTOM - height, width: width - 1, height }));
  });
  svg.append(element('line', { class: 'middle', x1: x(middle), x2: x(middle), y1: 4, y2: HEIGHT - BOTTOM }));
  for (const [value, anchor] of [[low, 'start'], [high, 'end']])
    svg.append(element('text', { x: x(value), y: HEIGHT - 8, 'text-anchor': anchor }, `${value.toFixed(0)} ${unit}`));
  return svg;
}

/** Lines over time, one per row of `series`, on a common scale. */
export function lines(series, label) {
  const values = series.flat();
  const low = Math.min(...values), high = Math.max(...values), span = high - low || 1;
  const svg = frame(label);
  const y = (value) => 8 + (1 - (value - low) / span) * (HEIGHT - BOTTOM - 12);
  for (const row of series) {
    const step = (WIDTH - LEFT) / Math.max(1, row.length - 1);
    const points = row.map((value, i) => `${(LEFT + i * step).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    svg.append(element('polyline', { class: 'mark', points, 'stroke-opacity': Math.max(0.25, 1 / Math.sqrt(series.length)) }));
  }
  for (const value of [low, high])
    svg.append(element('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, value.toPrecision(3)));
  svg.append(element('text', { x: LEFT, y: HEIGHT - 8 }, label));
  return svg;
}
