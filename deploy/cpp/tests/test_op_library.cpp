// Which nodes of a file have native kernels. The stand-in has Sum in two domains, float32 and float16, and Cache in one,
// float32.
#include <doctest/doctest.h>

#include "custom_nodes.h"
#include "op_library.h"
#include "stand_in.h"
#include "tiny_bundle.h"

using namespace temport;
using internal::OpLibrary;

namespace {

constexpr int kFloat = 1, kDouble = 11;

std::string number(int field, int value) { return {static_cast<char>(field << 3), static_cast<char>(value)}; }

std::string node(const std::string& op, const std::string& domain, const std::string& input) {
  return tiny::field(1, tiny::field(1, input) + tiny::field(1, "other") + tiny::field(2, "y") + tiny::field(4, op) +
                            tiny::field(7, domain));
}

std::string typed(int field, const std::string& name, int type) {
  return tiny::field(field, tiny::field(1, name) + tiny::field(2, tiny::field(1, number(1, type))));
}

// float32 x, an input; double d, a value between nodes; float32 w, a weight.
std::string graph(const std::string& nodes) {
  const std::string weight = tiny::field(5, number(2, kFloat) + tiny::field(8, "w") + tiny::field(9, std::string(500, 'w')));
  return nodes + weight + typed(11, "x", kFloat) + typed(13, "d", kDouble);
}

std::string bodies(const std::string& nodes) {
  const std::string model = tiny::field(7, graph(nodes));
  const auto found = internal::read_custom_nodes(reinterpret_cast<const uint8_t*>(model.data()), model.size());
  REQUIRE(found);
  return OpLibrary::find(STAND_IN_RUNTIME)->bodies(*found);
}

std::string path(const std::string& nodes, int& copied) {
  const tiny::Directory directory(tiny::kStepSignature, tiny::step_vectors());
  const std::string model = tiny::model(tiny::kStepSignature) + tiny::field(7, graph(nodes));
  tiny::write(directory.path() / "model.onnx", model);
  tiny::write(directory.path() / "manifest.json", tiny::manifest(model, tiny::step_vectors(), tiny::kStepSignature));
  const auto bundle = Bundle::open(directory.string());
  REQUIRE(bundle);
  const auto session = Session::create(*bundle, stand_in_kernels());
  REQUIRE(session);
  const int before = copied_caches();
  REQUIRE(session->stream({{"batch", 1}})->run());
  copied = copied_caches() - before;
  return session->path();
}

}  // namespace

TEST_CASE("every node has a kernel, or it is said which have not") {
  CHECK(bodies("").empty());
  CHECK(bodies(node("Sum", "temport", "x") + node("Sum", "temport.2", "w") + node("Relu", "", "d")).empty());
  CHECK(bodies(node("Product", "temport", "x")) == "Product as its body");
  CHECK(bodies(node("Sum", "temport.3", "x")) == "Sum as its body");
  CHECK(bodies(node("Sum", "temport.x", "x")) == "Sum as its body");
  CHECK(bodies(node("Sum", "temport", "d")) == "Sum as its body");
  CHECK(bodies(node("Sum", "temport", "of no known type")).empty());
  CHECK(bodies(node("Sum", "temporty", "x") + node("Sum", "ai.temport", "x")).empty());
  CHECK(bodies(node("Sum", "temport", "x") + node("Cache", "temport.2", "x") + node("Sum", "temport.3", "x") +
               node("Sum", "temport.4", "x")) == "Cache as its body; Sum as its body in 2 of 3 nodes");
}

TEST_CASE("nodes of branches count, with the types of the graph around them") {
  const std::string branch = tiny::field(6, node("Sum", "temport", "d") + node("Sum", "temport", "x"));
  const std::string choice = tiny::field(1, tiny::field(4, "If") + tiny::field(5, branch));
  CHECK(bodies(choice) == "Sum as its body in 1 of 2 nodes");
}

TEST_CASE("the path of a session names them, and a body gets two buffers") {
  int copied = 0;
  const std::string known = node("Cache", "temport", "x"), newer = node("Cache", "temport.2", "x");
  CHECK(path(known, copied) == "native kernels libstand_in_runtime.so");
  CHECK(copied == 0);
  CHECK(path(known + newer, copied) == "native kernels libstand_in_runtime.so; Cache as its body in 1 of 2 nodes");
  CHECK(copied == 1);
}

TEST_CASE("a library that does not say what it has") {
  const auto old = OpLibrary::find(some_library());
  REQUIRE(old);
  CHECK(old->bodies({}) == "the library does not say for which ops");
}

TEST_CASE("a library is named by its absolute path") {
  for (const char* name : {"libm.so.6", "./libtemport_ops.so", "../libtemport_ops.so"})
    CHECK(OpLibrary::find(name).error().message == std::string("the op library is named by its absolute path, not ") + name);
}

TEST_CASE("bytes that are no model are refused") {
  std::string nested = node("Sum", "temport", "x");
  for (int depth = 0; depth < 40; ++depth) nested = tiny::field(1, tiny::field(5, tiny::field(6, nested)));
  for (const std::string& graph : {std::string("\x0a\x7f"), nested}) {
    const std::string model = tiny::field(7, graph);
    CHECK(!internal::read_custom_nodes(reinterpret_cast<const uint8_t*>(model.data()), model.size()));
  }
}
