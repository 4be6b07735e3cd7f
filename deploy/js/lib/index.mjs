// What a program of one's own calls, in node and in the browser: the package's entry.
export { openBundle } from './bundle.mjs';
export { createSession, refusal, toFeeds, toTensor } from './session.mjs';
export { EndedStream, RefusedFrame, Stream } from './stream.mjs';
