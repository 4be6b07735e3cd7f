#include <doctest/doctest.h>

#include <cmath>
#include <thread>

#include "compare.h"
#include "stand_in.h"
#include "tiny_bundle.h"

using namespace temport;

TEST_CASE("a request computes in place and follows its sizes") {
  const tiny::Directory directory;
  const auto bundle = Bundle::open(directory.string());
  REQUIRE(bundle);
  const auto session = Session::create(*bundle, stand_in());
  REQUIRE(session);
  CHECK(session->path() == "standard operators");
  CHECK(session->version() == "stand-in");
  CHECK(session->library() == "libstand_in_runtime.so");
  for (const int64_t batch : {1, 3, 4}) {
    auto request = session->request({{"batch", batch}});
    REQUIRE(request);
    const auto x = request->tensor("x"), y = request->tensor("y");
    REQUIRE(x->size() == static_cast<size_t>(3 * batch));
    for (size_t i = 0; i < x->size(); ++i) x->as<float>()[i] = static_cast<float>(i) + 1;
    REQUIRE(request->run());
    for (size_t i = 0; i < y->size(); ++i) CHECK(y->as<float>()[i] == 2 * static_cast<float>(i) + 2);
  }
  CHECK(session->request()->tensor("x")->shape[0] == 2);
}

TEST_CASE("the caller's memory is used without a copy") {
  const tiny::Directory directory;
  const auto bundle = Bundle::open(directory.string());
  const auto session = Session::create(*bundle, stand_in());
  auto request = session->request({{"batch", 1}});
  std::vector<float> x{1, 2, 3}, y(3);
  REQUIRE(request->bind("x", x.data(), 12));
  REQUIRE(request->bind("y", y.data(), 12));
  REQUIRE(request->run());
  CHECK(y == std::vector<float>{2, 4, 6});
  CHECK(request->tensor("y")->data == y.data());
  CHECK(request->bind("y", y.data(), 8).error().code == TEMPORT_INVALID_ARGUMENT);
  CHECK(request->bind("z", y.data(), 12).error().code == TEMPORT_INVALID_ARGUMENT);
  CHECK(request->bind("y", nullptr, 12).error().code == TEMPORT_INVALID_ARGUMENT);
}

TEST_CASE("mistakes are values with a sentence") {
  const tiny::Directory directory;
  const auto bundle = Bundle::open(directory.string());
  SessionOptions options = stand_in();
  options.runtime = "abacus";
  CHECK(Session::create(*bundle, options).error().code == TEMPORT_INVALID_ARGUMENT);
  options.runtime = "tensorrt";
  CHECK(Session::create(*bundle, options).error().code == TEMPORT_UNAVAILABLE);
  options = {};
  options.library = "/nonexistent/libonnxruntime.so";
  CHECK(Session::create(*bundle, options).error().code == TEMPORT_UNAVAILABLE);
  options.library = "libc.so.6";
  CHECK(Session::create(*bundle, options).error().message.find("OrtGetApiBase") != std::string::npos);
  options = stand_in();
  options.threads = -1;
  CHECK(Session::create(*bundle, options).error().code == TEMPORT_INVALID_ARGUMENT);

  const tiny::Directory strange;
  tiny::write(strange.path() / "model.onnx", tiny::model() + tiny::field(2, "Abacus"));
  tiny::write(strange.path() / "manifest.json",
              tiny::manifest(tiny::model() + tiny::field(2, "Abacus"), tiny::vectors()));
  CHECK(Session::create(*Bundle::open(strange.string()), stand_in()).error().code == TEMPORT_UNSUPPORTED);

  const auto session = Session::create(*bundle, stand_in());
  CHECK(session->request({{"batch", 5}}).error().message == "axis batch is 5; the model takes 1 to 4");
  CHECK(session->request({{"time", 5}}).error().message == "the model has no dynamic axis time");
  auto request = session->request();
  CHECK(request->tensor("z").error().code == TEMPORT_INVALID_ARGUMENT);
  request->tensor("x")->as<float>()[0] = 13;
  CHECK(request->run().error().message == "ONNX Runtime: thirteen is not run");
  CHECK(temport_bundle_open(nullptr, nullptr, nullptr, nullptr) == TEMPORT_INVALID_ARGUMENT);
}

TEST_CASE("objects may be closed in any order and leave nothing behind") {
  const int before = live_objects();
  {
    const tiny::Directory directory;
    auto bundle = std::make_unique<Bundle>(*Bundle::open(directory.string()));
    auto session = std::make_unique<Session>(*Session::create(*bundle, stand_in()));
    auto request = session->request();
    bundle.reset();
    session.reset();
    CHECK(request->run());
  }
  CHECK(live_objects() == before);
}

TEST_CASE("one session serves several threads, each with its request") {
  const tiny::Directory directory;
  const auto bundle = Bundle::open(directory.string());
  const auto session = Session::create(*bundle, stand_in());
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        auto request = session->request({{"batch", 1 + t}});
        request->tensor("x")->as<float>()[0] = static_cast<float>(t + 20);
        if (!request->run() || request->tensor("y")->as<float>()[0] != static_cast<float>(2 * t + 40)) ++wrong[t];
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("verdicts of a comparison") {
  const auto verdict = [](std::vector<double> y, double allowed, double rms = NAN) {
    return runner::compare(y, {1, -2, 0}, {allowed, 1e-6, 2, rms}, TEMPORT_FLOAT32).verdict;
  };
  CHECK(verdict({1, -2, 0.25}, 0.25) == "pass");
  CHECK(verdict({1, -2, 0.25}, 0.2) == "fail");
  CHECK(verdict({1, -2, NAN}, 0.2) == "fail");
  CHECK(verdict({1, -2, NAN}, NAN) == "fail");
  CHECK(verdict({1, -2, 9}, NAN) == "ill-conditioned");
  CHECK(verdict({1.2, -1.8, 0.2}, 0.25, 0.16) == "pass");  // sqrt(0.04 / (5 / 3)) = 0.155
  CHECK(verdict({1.2, -1.8, 0.2}, 0.25, 0.15) == "fail");
  CHECK(runner::compare({1}, {INFINITY}, {1, 0, NAN, NAN}, TEMPORT_FLOAT32).verdict == "ill-conditioned");
}

TEST_CASE("where torch itself overflows in a half type nobody is judged, and a wrong number still fails") {
  const runner::Bound overflow{NAN, NAN, 2, NAN}, judged{0.1, 0.05, 2, NAN};
  for (const auto dtype : {TEMPORT_FLOAT16, TEMPORT_BFLOAT16}) {
    const auto row = runner::compare({1, NAN}, {1, -2}, overflow, dtype);
    CHECK(row.verdict == "ill-conditioned");
    CHECK(row.reason.find("the source itself gives NaN or infinity in") == 0);
    CHECK(runner::compare({1, NAN}, {1, -2}, judged, dtype).verdict == "fail");
  }
  CHECK(runner::compare({1, NAN}, {1, -2}, overflow, TEMPORT_FLOAT32).verdict == "fail");
}

TEST_CASE("half types widen exactly") {
  const uint16_t half[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555}, brain[] = {0x3f80, 0xc000};
  const auto view = [](temport_dtype dtype, const auto& values) {
    const int64_t count = static_cast<int64_t>(std::size(values));
    return internal::ArrayView{dtype, {count}, reinterpret_cast<const uint8_t*>(values), sizeof values};
  };
  CHECK(runner::to_doubles(view(TEMPORT_FLOAT16, half)) == std::vector<double>{1, -2, 0x1p-24, INFINITY, 0.333251953125});
  CHECK(runner::to_doubles(view(TEMPORT_BFLOAT16, brain)) == std::vector<double>{1, -2});
}
