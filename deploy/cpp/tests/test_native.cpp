#include <doctest/doctest.h>

#include <dlfcn.h>

#include <cstring>
#include <thread>

#include "native/processor.h"
#include "step_model.h"

using namespace temport;
using tiny::Opened, tiny::Rows, tiny::feed;

namespace {

// The sentence with which the engine of a bundle is refused.
Error refusal(const tiny::Words& in_report, const tiny::Words& in_library = {}, bool listed = true,
              const char* library_file = STAND_IN_ENGINE) {
  const tiny::Directory directory(tiny::kStepSignature, tiny::step_vectors());
  tiny::add_engine(directory, tiny::kStepSignature, in_report, in_library, listed, library_file);
  SessionOptions options;
  options.runtime = "native";
  const auto session = Session::create(*Bundle::open(directory.string()), options);
  REQUIRE(!session);
  return session.error();
}

bool says(const Error& error, temport_code code, const std::string& part) {
  return error.code == code && error.message.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a bundle's own engine is taken where nothing else is asked for") {
  Opened opened;
  CHECK(opened.session.runtime() == "onnxruntime");  // whose library stand_in() names
  Opened own(own_engine());
  CHECK(own.session.runtime() == "native");
  CHECK(own.session.path() == std::string("native engine ") + temport_version() + ", portable");
  CHECK(own.session.version() == temport_version());
  CHECK(own.session.library() == "libtiny.so");
  const auto error = [&](const SessionOptions& options) { return Session::create(own.bundle, options).error(); };
  SessionOptions options;
  options.threads = 2;
  CHECK(says(error(options), TEMPORT_UNAVAILABLE, "ONNX Runtime is not here"));
  options.runtime = "native";
  CHECK(says(error(options), TEMPORT_INVALID_ARGUMENT, "one thread"));
  options = stand_in();
  options.runtime = "native";
  CHECK(says(error(options), TEMPORT_INVALID_ARGUMENT, "no library"));
}

TEST_CASE("an engine that is not for here is refused before anything of it is called") {
  const std::string version = temport_version(), isa = "\"isa\": \"portable\"";
  CHECK(says(refusal({{isa, "\"isa\": \"abacus\""}}), TEMPORT_UNAVAILABLE, "for processors with abacus, which this one is not"));
  CHECK(says(refusal({{"\"machine\": \"", "\"machine\": \"un"}}), TEMPORT_UNAVAILABLE, "which this one is not"));
  CHECK(says(refusal({{isa, "\"isa\": 7"}}), TEMPORT_UNAVAILABLE, "for processors with ,"));
  CHECK(says(refusal({{"\"temport\": \"" + version, "\"temport\": \"9.9.9"}}), TEMPORT_UNAVAILABLE, "by temport 9.9.9"));
  CHECK(says(refusal({{"\"model_sha256\": \"", "\"model_sha256\": \"0"}}), TEMPORT_REFUSED, "from another model"));
  CHECK(says(refusal({{"engine/libtiny.so", "engine/other.so"}}), TEMPORT_REFUSED, "has no engine/other.so in its manifest"));
  CHECK(says(refusal({}, {}, false), TEMPORT_REFUSED, "has no engine/libtiny.so in its manifest"));
  CHECK(says(refusal({{"engine/libtiny.so", ""}}), TEMPORT_UNAVAILABLE, "has no native engine"));
  CHECK(says(refusal({{"\"native\"", "\"another\""}}), TEMPORT_UNAVAILABLE, "has no native engine"));
  CHECK(says(refusal({{"\"engines\"", "\"others\""}}), TEMPORT_REFUSED, "it lists no engines"));
  CHECK(says(refusal({{"]}", "]"}}), TEMPORT_REFUSED, "engine.json is refused: "));
}

TEST_CASE("a processor has the name that a compiler gives it, and its own") {
  CHECK(same_machine("arm", "armv7l"));
  CHECK(same_machine("i486", "i686"));
  CHECK(!same_machine("arm", "arm64"));
  CHECK(!same_machine("arm", "aarch64"));
  CHECK(!same_machine("i686", "ia64"));
}

TEST_CASE("an engine that is not what engine.json says is refused, whatever the hashes say") {
  CHECK(says(refusal({}, {{"stand-in abi 2", "stand-in abi 3"}}), TEMPORT_UNAVAILABLE, "has version 3 of the engine's interface"));
  CHECK(says(refusal({}, {{std::string("portable\0", 9), std::string("avx1024\0\0", 9)}}), TEMPORT_UNAVAILABLE, "with avx1024"));
  const std::string sha256 = tiny::digest(tiny::model(tiny::kStepSignature));
  CHECK(says(refusal({}, {{sha256, std::string(64, '0')}}), TEMPORT_REFUSED, "from another model"));
  CHECK(says(refusal({}, {}, true, STAND_IN_RUNTIME), TEMPORT_REFUSED, "is no engine"));
  CHECK(says(refusal({}, {{"state.sum", "state.Sum"}}), TEMPORT_REFUSED, "its tensor state.sum is not what"));
  CHECK(says(refusal({}, {{"\177ELF", "\177elf"}}), TEMPORT_UNAVAILABLE, "cannot be loaded"));
}

TEST_CASE("an engine that changed after the bundle was opened is not loaded") {
  const tiny::Directory directory(tiny::kStepSignature, tiny::step_vectors());
  tiny::add_engine(directory);
  const auto bundle = Bundle::open(directory.string());
  std::fstream(directory.path() / "engine" / "libtiny.so", std::ios::in | std::ios::out | std::ios::binary).put('x');
  CHECK(says(Session::create(*bundle).error(), TEMPORT_REFUSED, "libtiny.so differs from its manifest"));
}

TEST_CASE("every session has the engine of its own bundle, also where another one was before") {
  const auto first_output = [](const std::string& factor) {
    const tiny::Directory directory(tiny::kStepSignature, tiny::step_vectors());
    tiny::add_engine(directory, tiny::kStepSignature, {}, {{"stand-in factor 1", "stand-in factor " + factor}});
    const auto session = Session::create(*Bundle::open(directory.string()));
    auto stream = session->stream();
    return feed(*stream, 1);
  };
  Opened opened(own_engine());
  auto stream = opened.session.stream();
  CHECK(first_output("2") == Rows{202});
  CHECK(first_output("3") == Rows{303});
  CHECK(feed(*stream, 1) == Rows{101});
  CHECK(::dlsym(RTLD_DEFAULT, "temport_engine_of_this_library") == nullptr);
}

TEST_CASE("the state of an engine has the bytes that it has with another runtime") {
  Opened own(own_engine()), other;
  auto ours = own.session.stream({{"batch", 3}}), theirs = other.session.stream({{"batch", 3}});
  for (int frame = 1; frame < 6; ++frame) {
    for (auto* stream : {&*ours, &*theirs})
      for (size_t i = 0; i < 9; ++i) stream->tensor("frame")->as<float>()[i] = static_cast<float>(frame * 10 + int(i));
    REQUIRE(ours->run());
    REQUIRE(theirs->run());
    for (size_t entry = 0; entry < 3; ++entry) CHECK(*ours->save(entry) == *theirs->save(entry));
  }
  REQUIRE(ours->restore(*theirs->save(2), 0));
  REQUIRE(theirs->restore(*ours->save(1), 2));
  CHECK(*ours->save(0) == *ours->save(2));
  CHECK(*theirs->save(1) == *theirs->save(2));
  REQUIRE(theirs->restore(*ours->save(2), 2));
  REQUIRE(theirs->restore(*ours->save(0), 0));
  CHECK(feed(*ours, 2) == feed(*theirs, 2));
}

TEST_CASE("one engine serves several streams and requests in several threads") {
  Opened opened(own_engine());
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      auto stream = opened.session.stream();
      auto request = opened.session.request();
      const auto step = static_cast<float>(t + 1);
      feed(*stream, step);
      for (int i = 2; i < 50; ++i) {
        if (feed(*stream, step) != Rows{(200 + static_cast<float>(i)) * step}) ++wrong[t];
        request->tensor("state.sum")->as<float>()[1] = static_cast<float>(i);
        request->tensor("frame")->as<float>()[1] = step;
        if (!request->run() || request->tensor("next_state.sum")->as<float>()[1] != step + static_cast<float>(i)) ++wrong[t];
        if (request->tensor("output")->as<float>()[1] != 101 * step + static_cast<float>(i)) ++wrong[t];
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}
