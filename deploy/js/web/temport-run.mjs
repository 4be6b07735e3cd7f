#!/usr/bin/env node
// temport-run in a browser: serves the bundle to a headless Chromium and collects what its page reports.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { access, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { USAGE, parseArguments } from '../lib/arguments.mjs';
import { exitCode } from '../lib/perform.mjs';
import { Ending, INTERRUPTED, SIGNALS, TIMED_OUT, endWith, print } from '../node/endings.mjs';
import { expectedOf } from '../node/files.mjs';
import { writeOutput } from '../node/output.mjs';
import { serve } from './serve.mjs';

const ENVIRONMENT = `$TEMPORT_BROWSER names the browser's program (default: chromium), $TEMPORT_PROVIDER is wasm (default) or webgpu,
$TEMPORT_WEBGPU_ADAPTER=swiftshader computes WebGPU on a machine without a GPU.`;
const PATIENCE_MS = 120000;
// A browser with a debugging pipe ends when the pipe does, so it never outlives this program, however that ends.
// Without a sandbox, because Chromium starts in no other way as root; it opens nothing but the page served here.
const FLAGS = ['--remote-debugging-pipe', '--headless=new', '--no-sandbox', '--disable-gpu-sandbox',
  '--enable-unsafe-webgpu', '--no-first-run', '--disable-extensions',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

// Files go over the server by their number: the page learns no paths and can ask for no others.
const numbered = (files, path) => files.map(({ name }, i) => ({ name, file: `${path}${i}` }));

// Answers the page's requests until it posts its report; the browser may be silent for a while only.
async function collect(options, expected, launch, interrupted) {
  let finish, fail;
  const finished = new Promise((resolve, reject) => ([finish, fail] = [resolve, reject]));
  const patience = setTimeout(() => fail(new Error(`the browser did not answer in ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  const late = () => fail(new Ending(`temport-run did not end within ${options.timeout} seconds`, TIMED_OUT));
  const deadline = options.timeout && setTimeout(late, 1000 * options.timeout);
  const task = {
    provider: options.runtime === 'native' ? 'native' : (process.env.TEMPORT_PROVIDER ?? 'wasm'),
    expected,
    options: {
      ...options,
      inputs: numbered(options.inputs, 'input/'),
      outputs: numbered(options.outputs, 'output/'),
      restore: options.restore && 'restore',
      save: options.save && 'save',
    },
  };
  const write = async (file, request) => {
    await writeOutput(file, await bodyOf(request)).catch(fail);
    return '';
  };
  const routes = {
    task: () => JSON.stringify(task),
    input: (i) => readFile(options.inputs[i].file),
    output: (i, request) => write(options.outputs[i].file, request),
    restore: () => readFile(options.restore),
    save: (_, request) => write(options.save, request),
    progress: () => '',
    report: async (_, request) => finish(JSON.parse(await bodyOf(request))) ?? '',
  };
  const answer = async (path, request) => {
    patience.refresh();
    const [, kind, number] = path.split('/');
    return Object.hasOwn(routes, kind) ? routes[kind](Number(number), request) : undefined;
  };
  // Others on this machine reach the port too; what it serves and takes is for the browser started here alone.
  const server = await serve(options.bundle, { routes: answer, token: randomBytes(16).toString('hex') });
  const browser = launch(`${server.url}/web/task.html`, fail);
  try {
    return await Promise.race([finished, interrupted]);
  } finally {
    clearTimeout(patience);
    clearTimeout(deadline);
    server.close();
    const gone = new Promise((resolve) => browser.once('close', resolve));
    if (browser.kill('SIGKILL')) await gone;
  }
}

async function main(words) {
  const options = parseArguments(words);
  if (options.help) return (await print(`${USAGE}\n${ENVIRONMENT}`)) ?? 0;
  for (const file of [...options.inputs.map((one) => one.file), options.restore].filter(Boolean))
    await access(file).catch(({ code }) => { throw new Error(`${file} cannot be read (${code})`); });
  const expected = await expectedOf(options);
  const interrupted = new Promise((_, reject) => {
    for (const signal of SIGNALS) process.on(signal, () => reject(new Ending('interrupted', INTERRUPTED)));
  });
  interrupted.catch(() => {}); // heard once the browser runs
  const profile = await mkdtemp(join(tmpdir(), 'temport-browser-'));
  const program = process.env.TEMPORT_BROWSER ?? 'chromium', adapter = process.env.TEMPORT_WEBGPU_ADAPTER;
  const flags = [...FLAGS, `--user-data-dir=${profile}`, ...(adapter ? [`--use-webgpu-adapter=${adapter}`] : [])];
  const launch = (url, fail) => {
    const env = { ...process.env, TMPDIR: profile }; // whatever it leaves goes with its profile
    const browser = spawn(program, [...flags, url], { env, stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    browser.on('error', () => fail(new Error(`the browser ${program} cannot be started; name one in $TEMPORT_BROWSER`)));
    browser.on('exit', (code) => fail(new Error(`the browser ended early with code ${code}`)));
    return browser;
  };
  try {
    const report = await collect(options, expected, launch, interrupted);
    if (report.error) throw new Error(report.error);
    await print(JSON.stringify(report, null, 1));
    return exitCode(report);
  } finally {
    // some of the browser's processes outlive it for a moment and may write into the profile once more
    for (let tries = 0; tries === 0 || (tries < 20 && existsSync(profile)); ++tries) {
      await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
      await pause(100);
    }
  }
}

await endWith(() => main(process.argv.slice(2)));
