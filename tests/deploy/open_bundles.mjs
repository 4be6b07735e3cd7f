// Opens every directory that a line of standard input names, reads every file that it lists, and says of each directory on
// a line what is wrong with it: for the tests in Python, which ask other readers the same.
import { text } from 'node:stream/consumers';
import { openBundle } from '../../deploy/js/lib/bundle.mjs';
import { readBundleFile } from '../../deploy/js/node/files.mjs';

for (const directory of (await text(process.stdin)).split('\n').slice(0, -1)) {
  let said = '';
  try {
    const { manifest, file } = await openBundle((name) => readBundleFile(directory, name));
    for (const name of Object.keys(manifest.files)) await file(name);
  } catch (error) {
    said = error.message;
  }
  console.log(said.replaceAll('\n', ' '));
}
