// The page: open a bundle, replay its vectors, show what came out, measure, run on a stream.
import { bench } from '../lib/bench.mjs';
import { openBundle } from '../lib/bundle.mjs';
import { elements } from '../lib/npy.mjs';
import { replay } from '../lib/replay.mjs';
import { createSession, refusal } from '../lib/session.mjs';
import { isStep } from '../lib/signature.mjs';
import { readVectors } from '../lib/vectors.mjs';
import { parseCsv, synthetic } from './frames.mjs';
import { live, liveModel, liveRefusal } from './live.mjs';
import { duration, histogram, lines } from './plot.mjs';
import { loadRuntime } from './runtime.mjs';
import { fromDirectory, fromUrl } from './sources.mjs';

const $ = (id) => document.getElementById(id);
const FIRST_LOOK_SECONDS = 2;
const breathe = () => new Promise((resolve) => setTimeout(resolve));
let turn = 0; // the number of the measurement or stream that may go on
let shows = 0; // and of the bundle that is wanted
let opened; // {read, ort, session, bundle} on show

async function show(read) {
  const own = ++shows;
  turn++;
  $('problem').hidden = $('results').hidden = true;
  delete document.documentElement.dataset.state;
  try {
    opened = { read };
    const bundle = await openBundle(read);
    const { ort, place } = await loadRuntime($('provider').value, bundle);
    const { declaration, temport } = bundle.manifest;
    const kind = isStep(bundle.signature) ? 'step model' : 'window model';
    $('model').textContent = `${declaration.arch}, ${kind}, ${bundle.model.length.toLocaleString('en')} bytes, exported by temport ${temport}, digest ${bundle.digest}`;
    const why = refusal(bundle, place.provider, place.halfFloats);
    if (why) throw new Error(why);
    const session = await createSession(ort, bundle, place.provider);
    const { row } = await replay(ort, session, bundle, {}, { progress: breathe, recorded: place.recorded });
    if (own !== shows) return;
    opened = { read, ort, session, bundle };
    const path = place.path ?? (declaration.ops === 'custom' ? 'function bodies' : 'standard operators');
    $('path').textContent = `${place.runner}, ${place.runtime} ${place.version}, ${path}`;
    await showCases(bundle, row);
    $('results').hidden = false;
    await measure({ seconds: FIRST_LOOK_SECONDS });
    if (own !== shows) return;
    await showMasks(bundle);
    $('stream-section').hidden = liveRefusal(bundle.signature) !== null;
    document.documentElement.dataset.state = 'ready';
  } catch (error) {
    if (own !== shows) return;
    $('problem').textContent = error.message.split('\n')[0];
    $('problem').hidden = false;
    document.documentElement.dataset.state = 'refused';
  }
}

async function showCases(bundle, row) {
  const allowed = new Map((await readVectors(bundle)).map((one) => [one.name, one.bound]));
  const number = (value) => (value === null || Number.isNaN(value) ? '–' : value.toExponential(2));
  const cells = row.results.flatMap((result) => Object.entries(result.outputs).map(([output, measured]) =>
    [result.case, output, number(measured.max_abs), number(elements(allowed.get(result.case).get(output))[0]), measured.verdict]));
  $('cases').tBodies[0].replaceChildren(...cells.map((texts) => {
    const line = document.createElement('tr');
    for (const text of texts) line.insertCell().textContent = text;
    line.lastChild.dataset.verdict = texts.at(-1);
    return line;
  }));
  $('verdict').textContent = $('verdict').dataset.verdict = row.verdict;
  $('divergence').textContent = row.divergence ? `${row.divergence.case}: ${row.divergence.explanation}` : '';
}

// Another measurement, stream or bundle that is started meanwhile ends this one.
async function measure(limits) {
  const { ort, session, bundle } = opened;
  const own = ++turn, stopped = new Error('stopped');
  const progress = async (done) => {
    $('latency').textContent = `${done.toLocaleString('en')} ...`;
    await breathe();
    if (own !== turn) throw stopped;
  };
  try {
    showLatency(await bench(ort, session, bundle, { ...limits, progress }), isStep(bundle.signature) ? 'frames' : 'windows');
  } catch (error) {
    if (error !== stopped) throw error;
    $('latency').textContent = error.message;
  }
}

function showLatency({ frames, p50, p99, p99_9, max, p50_first_tenth: first, p50_last_tenth: last, histogram: counted }, ones) {
  const flat = `median of the first tenth ${duration(first)}, of the last ${duration(last)}`;
  const marks = { p50, p99, 'p99.9': p99_9, max };
  const quantiles = Object.entries(marks).map(([label, us]) => `${label} ${duration(us)}`).join(', ');
  $('latency').textContent = `${quantiles} over ${frames.toLocaleString('en')} ${ones}; ${flat}`;
  $('latency-plot').replaceChildren(histogram(counted, marks));
}

// The pictures are those of the parity report: drawn by the same rule that made the constants in the graph.
async function showMasks(bundle) {
  $('mask-section').hidden = true;
  if (!Object.hasOwn(bundle.manifest.files, 'report.json')) return;
  const report = JSON.parse(new TextDecoder().decode(await bundle.file('report.json')));
  const masks = [...new Map(report.masks.map((mask) => [mask.svg, mask])).values()];
  $('masks').replaceChildren(...masks.map((mask) => {
    const image = new Image();
    image.src = `data:image/svg+xml,${encodeURIComponent(mask.svg)}`;
    image.alt = mask.rule;
    return image;
  }));
  $('mask-rule').textContent = masks.map((mask) => `${mask.rule}, ${mask.query_length} × ${mask.key_length}`).join('; ');
  $('mask-section').hidden = !masks.length;
}

async function stream() {
  const { ort, session, bundle } = opened;
  const own = ++turn;
  const start = $('stream-toggle').textContent === 'Start';
  $('stream-toggle').textContent = start ? 'Stop' : 'Start';
  if (!start) return;
  try {
    const model = liveModel(ort, session, bundle);
    const [file] = $('csv').files;
    const frames = file ? parseCsv(await file.text(), model.width) : synthetic(model.width);
    $('stream-way').textContent = model.way;
    await live(model, frames, () => own === turn, drawStream);
  } catch (error) {
    $('stream-status').textContent = error.message;
  }
  if (own === turn) $('stream-toggle').textContent = 'Start';
}

function drawStream({ frames, inputs, outputs, latencies }) {
  const columns = (rows) => rows[0].map((_, d) => rows.map((row) => row[d]));
  $('stream-input').replaceChildren(lines(columns(inputs), `input, last ${inputs.length} frames`));
  $('stream-output').replaceChildren(lines(columns(outputs), 'output'));
  const newest = outputs.at(-1), middle = latencies.toSorted((a, b) => a - b)[latencies.length >> 1];
  const top = newest.indexOf(newest.reduce((a, b) => Math.max(a, b)));
  $('stream-status').textContent =
    `frame ${frames.toLocaleString('en')}, largest output: ${top}, ${duration(middle)} a frame (median of the last ${latencies.length})`;
}

$('measure').onclick = () => {
  $('stream-toggle').textContent = 'Start';
  measure({ frames: Number($('frames').value) }).catch((error) => ($('latency').textContent = error.message));
};
$('stream-toggle').onclick = stream;
$('provider').onchange = () => opened && show(opened.read);
$('directory').onchange = ({ target }) => target.files.length && show(fromDirectory(target.files));
const wanted = new URLSearchParams(location.search);
if (wanted.get('provider')) $('provider').value = wanted.get('provider');
if (wanted.get('bundle')) show(fromUrl(wanted.get('bundle')));
