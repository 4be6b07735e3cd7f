#!/usr/bin/env node
// temport-run in a browser: serves the bundle to a headless Chromium and collects what its page reports.
// $TEMPORT_BROWSER names the browser's program, $TEMPORT_PROVIDER is wasm (default) or webgpu.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { USAGE, fileOf, parseArguments } from '../lib/arguments.mjs';
import { serve } from './serve.mjs';

const PATIENCE_MS = 120000;
const FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu-sandbox', '--enable-unsafe-webgpu', '--no-first-run',
  '--disable-extensions', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

// Answers the page's requests until it posts its report.
async function collect(options, launch) {
  let finish, fail;
  const finished = new Promise((resolve, reject) => ([finish, fail] = [resolve, reject]));
  const task = {
    provider: process.env.TEMPORT_PROVIDER ?? 'wasm',
    threads: options.threads,
    replay: options.replay,
    bench: options.bench,
    inputs: options.inputs.length > 0,
  };
  const server = await serve(options.bundle, 0, async (path, request) => {
    const [, kind, name] = path.split('/');
    if (path === '/task') return JSON.stringify(task);
    if (kind === 'input') return readFile(fileOf(options.inputs, name, options.inputs.length));
    if (kind === 'output') {
      const file = fileOf(options.outputs, name, options.outputs.length);
      if (file) await writeFile(file, await bodyOf(request));
      return '';
    }
    if (path !== '/report') return undefined;
    finish(JSON.parse(await bodyOf(request)));
    return '';
  });
  const patience = setTimeout(() => fail(new Error(`the browser did not answer in ${PATIENCE_MS / 1000} s`)), PATIENCE_MS);
  const browser = launch(`${server.url}/web/task.html`, fail);
  try {
    return await finished;
  } finally {
    clearTimeout(patience);
    server.close();
    const gone = new Promise((resolve) => browser.once('close', resolve));
    if (browser.kill('SIGKILL')) await gone;
  }
}

async function main(words) {
  const options = parseArguments(words);
  if (options.help) return console.log(USAGE);
  const profile = await mkdtemp(join(tmpdir(), 'temport-browser-'));
  const program = process.env.TEMPORT_BROWSER ?? 'chromium';
  const launch = (url, fail) => {
    const browser = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, url], { stdio: 'ignore' });
    browser.on('error', () => fail(new Error(`the browser ${program} cannot be started; name one in $TEMPORT_BROWSER`)));
    browser.on('exit', (code) => fail(new Error(`the browser ended early with code ${code}`)));
    return browser;
  };
  try {
    const report = await collect(options, launch);
    if (report.error) throw new Error(report.error);
    const [row] = report.runtimes ?? [];
    if (row && (row.verdict === 'fail' || row.results.every((result) => result.verdict === 'ill-conditioned')))
      process.exitCode = 1;
    console.log(JSON.stringify(report, null, 1));
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`error: ${error.message.split('\n')[0]}`);
  process.exitCode = 2;
});
