// Which files an ONNX model would have a runtime read, found without an ONNX library.
import { fields, malformed, text } from './protobuf.mjs';

// Every field of onnx.proto3 that leads to a tensor: from a part, by the field's number, to a part.
const WAYS = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
};
const NAME = 8, EXTERNAL_DATA = 13, DATA_LOCATION = 14, KEY = 1, VALUE = 2, NODE_DOMAIN = 7;
const DEEPEST = 100; // as deep as protobuf's own readers go

/**
 * Throws where a tensor of the model lies in a file, unless it is one of the main graph's initializers and `listed` says
 * true of the file's name. A branch, a loop's or a function's body and an attribute hold tensors too: runtimes look for
 * the files of those wherever the process happens to be.
 * @param {Uint8Array} model @param {(file: string) => boolean} listed
 */
export function checkExternalData(model, listed) {
  // ONNX Runtime would take it for a file of its own format, whatever else it is.
  if (text(model.subarray(4, 8)) === 'ORTM') throw new Error("it is in ONNX Runtime's own format");
  checkPart('model', model, true, 1, listed);
}

// `main`: a graph that is the model's own, or a tensor that is one of its initializers. `body`: inside a function.
function checkPart(part, bytes, main, depth, listed, body = false) {
  if (depth > DEEPEST) throw malformed();
  if (part === 'tensor') return checkTensor(bytes, main, listed);
  for (const [number, payload] of fields(bytes)) {
    // Forty functions of two calls each are 2^40 nodes, which a runtime would write out before it asks any op.
    if (body && part === 'node' && number === NODE_DOMAIN && !['', 'ai.onnx'].includes(text(payload)))
      throw new Error(`the body of a function has a node of domain ${text(payload)}`);
    const inner = WAYS[part][number];
    if (!inner) continue;
    const innerMain = part === 'model' ? inner === 'graph' : main && inner === 'tensor';
    checkPart(inner, payload, innerMain, depth + 1, listed, body || inner === 'function');
  }
}

function checkTensor(bytes, main, listed) {
  let name = '', external = false;
  const locations = [];
  for (const [number, payload, value] of fields(bytes)) {
    if (number === NAME) name = text(payload);
    if (number === DATA_LOCATION && value !== 0) external = true;
    if (number !== EXTERNAL_DATA) continue;
    external = true;
    const entry = new Map([...fields(payload)].map(([key, content]) => [key, text(content)]));
    if (entry.get(KEY) === 'location') locations.push(entry.get(VALUE) ?? '');
  }
  if (!external) return;
  if (!main) throw new Error(`it reads a file for ${name}, which is no weight of its main graph`);
  if (!locations.length) throw new Error(`it keeps ${name} in a file and does not say in which`);
  const other = locations.find((location) => !listed(location));
  if (other !== undefined) throw new Error(`it reads ${other}, which is no file of weights that the manifest lists`);
}
