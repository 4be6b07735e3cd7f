#include <doctest/doctest.h>

#include <cstring>
#include <thread>

#include "bundle.h"
#include "state_bytes.h"
#include "step_model.h"

using namespace temport;
using temport::internal::Sha256;
using tiny::Opened, tiny::Rows, tiny::feed;

namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.rfind(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// The sentence with which a changed state is refused; `rehash` makes its digest agree again.
std::string refusal(std::vector<uint8_t> state, size_t at, uint8_t flip, bool rehash) {
  Opened opened;
  auto stream = opened.session.stream();
  state.at(at) = static_cast<uint8_t>(state.at(at) ^ flip);
  if (rehash) {
    Sha256 sha;
    sha.update(state.data(), state.size() - 32);
    const auto digest = sha.digest();
    std::copy(digest.begin(), digest.end(), state.end() - 32);
  }
  const auto restored = stream->restore(state);
  REQUIRE(!restored);
  CHECK(restored.error().code == TEMPORT_REFUSED);
  CHECK(feed(*stream, 1) == Rows{101});  // nothing of it came in
  return restored.error().message;
}

}  // namespace

TEST_CASE("a stream carries its state from frame to frame") {
  for (const auto& options : {stand_in(), stand_in_kernels(), own_engine()}) {
    Opened opened(options);
    CHECK(opened.bundle.states().size() == 3);
    auto stream = opened.session.stream();
    REQUIRE(stream);
    CHECK(feed(*stream, 1) == Rows{101});
    CHECK(feed(*stream, 2) == Rows{303});
    CHECK(feed(*stream, 3) == Rows{506});
    stream->reset();
    CHECK(feed(*stream, 5) == Rows{505});
  }
}

TEST_CASE("kernels keep a cache where it is, a function body gets two of them") {
  const auto copies = [](const SessionOptions& options, const std::string& signature) {
    Opened opened(options, signature);
    auto stream = opened.session.stream();
    const int before = copied_caches();
    for (int i = 0; i < 5; ++i) feed(*stream, 1);
    return copied_caches() - before;
  };
  const std::string everywhere = tiny::kStepSignature, nowhere = replaced(everywhere, ", \"in_place\": true", "");
  CHECK(copies(stand_in_kernels(), everywhere) == 0);
  CHECK(copies(stand_in_kernels(), nowhere) == 5);
  CHECK(copies(stand_in(some_library()), everywhere) == 5);  // an op library that does not say that it can
  CHECK(copies(stand_in(), everywhere) == 5);  // the stand-in fails a body that gets one buffer for two tensors
}

TEST_CASE("the buffers of a stream keep their place") {
  Opened opened;
  auto stream = opened.session.stream();
  const void *frame = stream->tensor("frame")->data, *output = stream->tensor("output")->data;
  for (int i = 0; i < 3; ++i) feed(*stream, 1);
  CHECK(stream->tensor("frame")->data == frame);
  CHECK(stream->tensor("output")->data == output);
  CHECK(!stream->tensor("state.sum"));  // which of the two is read next is the stream's own affair
  CHECK(!stream->tensor("state.last"));
  CHECK(!stream->tensor("next_state.sum"));
}

TEST_CASE("a failed frame leaves the state as it was") {
  for (const auto& options : {stand_in(), stand_in_kernels(), own_engine()}) {
    Opened opened(options);
    auto stream = opened.session.stream();
    feed(*stream, 1);
    CHECK(feed(*stream, 13).empty());
    CHECK(feed(*stream, 2) == Rows{303});
    CHECK(feed(*stream, 13).empty());  // over the oldest row
    CHECK(feed(*stream, 3) == Rows{506});
  }
}

TEST_CASE("a state that is no cache shows a failed frame where it is held in place") {
  const std::string sum = "\"output\": \"next_state.sum\"";
  Opened opened(stand_in_kernels(), replaced(tiny::kStepSignature, sum, sum + ", \"in_place\": true"));
  auto stream = opened.session.stream();
  feed(*stream, 1);
  CHECK(feed(*stream, 13).empty());
  CHECK(feed(*stream, 2) == Rows{316});  // 303, and 13 that should not be there
}

TEST_CASE("the entries of a batch are independent streams") {
  for (const auto& options : {stand_in(), stand_in_kernels(), own_engine()}) {
    Opened opened(options);
    auto stream = opened.session.stream({{"batch", 3}});
    REQUIRE(stream->entries() == 3);
    feed(*stream, 1);
    REQUIRE(stream->reset(1));
    CHECK(feed(*stream, 2) == Rows{303, 202, 303});
    CHECK(stream->reset(3).error().message == "there is no stream 3 among 3");
  }
}

TEST_CASE("a saved stream goes on in another one, in place or not") {
  const auto in_place = stand_in_kernels();
  Opened opened(in_place);
  auto first = opened.session.stream();
  for (int frames = 1; frames < 4; ++frames) {  // an odd and an even number: either set of buffers
    feed(*first, 1);
    const auto state = first->save();
    REQUIRE(state);
    CHECK(state->size() == 8 + 32 + 8 + 3 * 4 + 6 * 4 + 32);
    for (const auto& options : {stand_in(), in_place, own_engine()}) {
      Opened elsewhere(options);
      auto batch = elsewhere.session.stream({{"batch", 2}});
      feed(*batch, 40);
      REQUIRE(batch->restore(*state, 1));
      CHECK(feed(*batch, 2) == Rows{4242, 302 + static_cast<float>(frames)});
      CHECK(*elsewhere.session.stream()->save() != *state);
    }
  }
  CHECK(!first->save(1));
  CHECK(!first->restore(*first->save(), 1));
}

TEST_CASE("bytes that are no state of this model are refused and change nothing") {
  Opened opened(own_engine());
  auto stream = opened.session.stream();
  feed(*stream, 7);
  const auto state = *stream->save();
  const auto says = [](const std::string& sentence, const char* part) { return sentence.find(part) != std::string::npos; };
  CHECK(says(refusal(state, 0, 1, true), "not the saved state"));
  CHECK(says(refusal(state, 9, 1, true), "another model"));
  CHECK(says(refusal(state, 41, 1, false), "damaged"));
  CHECK(says(refusal(state, state.size() - 1, 1, false), "damaged"));
  for (size_t size = 0; size < state.size(); ++size)
    CHECK(!stream->restore({state.begin(), state.begin() + static_cast<std::ptrdiff_t>(size)}));
  CHECK(feed(*stream, 1) == Rows{808});
}

TEST_CASE("a bool that is none is refused") {
  uint8_t row[] = {0, 1};
  const std::vector<temport::internal::StateRow> rows = {{TEMPORT_BOOL, row, sizeof row}};
  std::vector<uint8_t> state(temport::internal::state_size(rows));
  const temport::internal::Digest model{};
  temport::internal::write_state(model, rows, state.data());
  CHECK(temport::internal::read_state(model, state.data(), state.size(), rows));
  row[0] = 2;
  temport::internal::write_state(model, rows, state.data());
  row[0] = 1;
  const auto restored = temport::internal::read_state(model, state.data(), state.size(), rows);
  REQUIRE(!restored);
  CHECK(restored.error().message.find("neither 0 nor 1") != std::string::npos);
  CHECK(row[0] == 1);
}

TEST_CASE("the other kind of model gets a sentence") {
  const tiny::Directory directory;
  const auto bundle = Bundle::open(directory.string());
  const auto session = Session::create(*bundle, stand_in());
  CHECK(bundle->states().empty());
  CHECK(session->stream().error().message.find("takes whole sequences") != std::string::npos);
  Opened opened;
  CHECK(opened.session.stream({{"batch", 5}}).error().message == "axis batch is 5; the model takes 1 to 4");
  CHECK(opened.session.stream({{"time", 5}}).error().message == "the model has no dynamic axis time");
}

TEST_CASE("a step model is also run with its state in the open") {
  for (const auto& options : {stand_in(), own_engine()}) {
    Opened opened(options);
    auto request = opened.session.request();
    request->tensor("frame")->as<float>()[0] = 4;
    request->tensor("state.sum")->as<float>()[0] = 20;
    REQUIRE(request->run());
    CHECK(request->tensor("next_state.sum")->as<float>()[0] == 24);
  }
}

TEST_CASE("streams may outlive their session and leave nothing behind") {
  const int before = live_objects();
  {
    auto opened = std::make_unique<Opened>();
    auto stream = opened->session.stream();
    opened.reset();
    CHECK(feed(*stream, 1) == Rows{101});
  }
  CHECK(live_objects() == before);
}

TEST_CASE("one session serves several streams in several threads") {
  Opened opened(stand_in_kernels());
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      auto stream = opened.session.stream();
      const auto step = static_cast<float>(t + 1);
      feed(*stream, step);
      for (int i = 2; i < 50; ++i)
        if (feed(*stream, step) != Rows{(200 + static_cast<float>(i)) * step}) ++wrong[t];
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("states that a signature cannot mean are refused") {
  const auto refused = [](const std::string& from, const std::string& to) {
    const tiny::Directory directory(replaced(tiny::kStepSignature, from, to), tiny::step_vectors());
    const auto bundle = Bundle::open(directory.string());
    REQUIRE(!bundle);
    return bundle.error().message;
  };
  const auto says = [](const std::string& sentence, const char* part) { return sentence.find(part) != std::string::npos; };
  CHECK(says(refused("\"output\": \"next_state.last\"", "\"output\": \"next_state.other\""), "not an input and an output"));
  CHECK(says(refused("\"output\": \"next_state.last\"", "\"output\": \"output\""), "different types or shapes"));
  CHECK(says(refused("\"input\": \"state.last\"", "\"input\": \"state.sum\""), "twice"));
  CHECK(says(refused("\"in_place\": true", "\"in_place\": 1"), "at signature/states/2/in_place, it is not \"boolean\""));
  CHECK(says(refused("[{\"input\"", "[7, {\"input\""), "at signature/states/0, it is not \"object\""));
  const std::string next = "{\"name\": \"next_state.frames\"";
  CHECK(says(refused("[" + tiny::kBatch + ", 3]}, " + next, "[3]}, " + next), "another first axis"));
}

TEST_CASE("model and manifest agree on what is kept in place") {
  const tiny::Directory directory(tiny::kStepSignature, tiny::step_vectors());
  const std::string other = replaced(tiny::kStepSignature, "true", "false");
  tiny::write(directory.path() / "manifest.json",
              tiny::manifest(tiny::model(tiny::kStepSignature), tiny::step_vectors(), other));
  CHECK(Bundle::open(directory.string()).error().message.find("its signature is not the manifest's") != std::string::npos);
}
