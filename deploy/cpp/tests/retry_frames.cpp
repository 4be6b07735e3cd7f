// A stream that goes on after frames that fail: `retry_frames BUNDLE LIBRARY OPS` reads float32 frames from standard input,
// as they are in memory, and writes the outputs of those that succeeded to standard output in the same form.
#include <cstdio>

#include "temport/temport.hpp"

namespace {

int fail(const temport::Error& error) { return std::fprintf(stderr, "error: %s\n", error.message.c_str()), 2; }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return std::fputs("usage: retry_frames BUNDLE LIBRARY OPS\n", stderr), 2;
  const auto bundle = temport::Bundle::open(argv[1]);
  if (!bundle) return fail(bundle.error());
  temport::SessionOptions options;
  options.library = argv[2];
  options.ops = argv[3];
  const auto session = temport::Session::create(*bundle, options);
  if (!session) return fail(session.error());
  auto stream = session->stream();
  if (!stream) return fail(stream.error());
  const auto frame = stream->tensor("frame"), output = stream->tensor("output");
  if (!frame) return fail(frame.error());
  if (!output) return fail(output.error());
  while (std::fread(frame->data, 1, frame->bytes, stdin) == frame->bytes)
    if (stream->run()) std::fwrite(output->data, 1, output->bytes, stdout);
  return 0;
}
