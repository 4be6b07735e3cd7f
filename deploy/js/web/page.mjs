// The page: open a bundle, replay its vectors, show what came out, run on a stream.
import { openBundle, readVectors } from '../lib/bundle.mjs';
import { bench, createSession, describe, replay } from '../lib/model.mjs';
import { elements } from '../lib/npy.mjs';
import { histogram, lines } from './plot.mjs';
import { fromDirectory, fromUrl, identity, loadRuntime } from './runtime.mjs';
import { Window, parseCsv, streamable, synthetic } from './stream.mjs';

const $ = (id) => document.getElementById(id);
const HISTORY = 200, FRAME_MS = 50;
let running = 0; // the number of the stream that may go on

async function show(read) {
  running++;
  $('problem').hidden = $('results').hidden = true;
  try {
    const provider = $('provider').value;
    const bundle = await openBundle(read);
    const ort = await loadRuntime(provider);
    const session = await createSession(ort, bundle, provider);
    const about = describe(bundle, identity(ort, provider));
    const name = `${about.architecture}, ${bundle.model.length.toLocaleString('en')} bytes`;
    $('model').textContent = `${name}, exported by temport ${bundle.manifest.temport}`;
    $('path').textContent = `${about.runner}, ${about.runtime} ${about.version}, ${about.path}`;
    await showCases(bundle, await replay(ort, session, bundle, { name: provider, version: about.version, path: about.path }));
    $('results').hidden = false;
    await showLatency(await bench(ort, session, bundle));
    await showMasks(bundle);
    offerStream(ort, session, bundle);
    document.documentElement.dataset.state = 'ready';
  } catch (error) {
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
}

async function showLatency({ latency, samples }) {
  const us = (value) => `${value.toFixed(0)} µs`;
  $('latency').textContent =
    `median ${us(latency.p50)}, 90 % ${us(latency.p90)}, 99 % ${us(latency.p99)} over ${latency.runs} runs`;
  $('latency-plot').replaceChildren(histogram(samples, 'µs'));
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

function offerStream(ort, session, bundle) {
  $('stream-section').hidden = !streamable(bundle.signature);
  if (!streamable(bundle.signature)) return;
  const [{ name, shape }] = bundle.signature.inputs;
  const output = bundle.signature.outputs[0].name;
  const length = typeof shape[1] === 'number' ? shape[1] : shape[1].opt;
  $('stream-toggle').onclick = async () => {
    const own = ++running;
    const start = $('stream-toggle').textContent === 'Start';
    $('stream-toggle').textContent = start ? 'Stop' : 'Start';
    if (!start) return;
    try {
      const [file] = $('csv').files;
      const frames = file ? parseCsv(await file.text(), shape[2]) : synthetic(shape[2]);
      await stream({ ort, session, name, output, frames, window: new Window(length, shape[2]), going: () => own === running });
    } catch (error) {
      $('stream-status').textContent = error.message;
    }
    if (own === running) $('stream-toggle').textContent = 'Start';
  };
}

async function stream({ ort, session, name, output, frames, window, going }) {
  const seen = [], answers = [];
  for (const frame of frames) {
    if (!going()) return;
    window.push(frame);
    const before = performance.now();
    const feeds = { [name]: new ort.Tensor('float32', window.values, [1, window.length, window.width]) };
    const { [output]: answer } = await session.run(feeds);
    const took = 1000 * (performance.now() - before);
    seen.push([...frame]);
    answers.push([...answer.data].slice(-Number(answer.dims.at(-1))));
    for (const kept of [seen, answers]) if (kept.length > HISTORY) kept.shift();
    const columns = (rows) => rows[0].map((_, d) => rows.map((row) => row[d]));
    $('stream-input').replaceChildren(lines(columns(seen), `${name}, last ${seen.length} frames`));
    $('stream-output').replaceChildren(lines(columns(answers), output));
    const top = answers.at(-1).indexOf(Math.max(...answers.at(-1)));
    $('stream-status').textContent = `largest output: ${top}, ${took.toFixed(0)} µs for this frame`;
    await new Promise((resolve) => setTimeout(resolve, FRAME_MS));
  }
}

$('directory').onchange = ({ target }) => target.files.length && show(fromDirectory(target.files));
const wanted = new URLSearchParams(location.search);
if (wanted.get('provider')) $('provider').value = wanted.get('provider');
if (wanted.get('bundle')) show(fromUrl(wanted.get('bundle')));
