#!/usr/bin/env node
// temport-run in node: its command line, and the process that watches over the work.
import { fileURLToPath } from 'node:url';
import { USAGE, parseArguments } from '../lib/arguments.mjs';
import { endWith, print } from './endings.mjs';
import { watched } from './watched.mjs';

async function main(words) {
  const options = parseArguments(words);
  if (options.help) return (await print(USAGE)) ?? 0;
  return watched(fileURLToPath(new URL('work.mjs', import.meta.url)), words, options.timeout);
}

await endWith(() => main(process.argv.slice(2)));
