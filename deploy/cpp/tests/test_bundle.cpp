#include <doctest/doctest.h>

#include <limits>
#include <sys/stat.h>

#include "bundle.h"
#include "temport/temport.hpp"
#include "tiny_bundle.h"

using temport::internal::BundleDirectory;

namespace {

void replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  text.replace(at, from.size(), to);
}

// The sentence with which a bundle is refused after `from` became `to` in its manifest.
std::string refusal(const std::string& from, const std::string& to) {
  const tiny::Directory directory;
  std::string text = tiny::manifest(tiny::model(), tiny::vectors());
  replace(text, from, to);
  tiny::write(directory.path() / "manifest.json", text);
  const auto bundle = temport::Bundle::open(directory.string());
  REQUIRE(!bundle);
  CHECK(bundle.error().code == TEMPORT_REFUSED);
  return bundle.error().message;
}

bool says(const std::string& sentence, const std::string& part) { return sentence.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("an intact bundle opens and shows its signature") {
  const tiny::Directory directory;
  const auto bundle = temport::Bundle::open(directory.string());
  REQUIRE(bundle);
  const auto inputs = bundle->inputs();
  REQUIRE(inputs.size() == 1);
  CHECK(std::string(inputs[0].name) == "x");
  CHECK(inputs[0].dtype == TEMPORT_FLOAT32);
  CHECK(std::string(inputs[0].axes[0].name) == "batch");
  CHECK(inputs[0].axes[0].max == 4);
  CHECK(inputs[0].axes[1].name == nullptr);
  const auto vectors = bundle->vectors();
  REQUIRE(vectors);
  CHECK(vectors->cases() == std::vector<std::string>{"one"});
  CHECK(vectors->tensor("one", "output", "y")->as<double>()[2] == 6.0);
  CHECK(!vectors->tensor("two", "output", "y"));
}

TEST_CASE("a changed manifest is refused with its reason") {
  CHECK(says(refusal("\"format\": 1", "\"format\": 2"), "at format, it is not one of [1]"));
  CHECK(says(refusal("\"format\": 1, ", ""), "it has no format"));
  CHECK(says(refusal("\"semantics\": 1", "\"semantics\": 9"), "at semantics, it is not one of [1]"));
  CHECK(says(refusal("\"masks\": []", "\"masks\": [], \"more\": 1"), "at more, it is not known here"));
  CHECK(says(refusal("\"model.onnx\"", "\"../model.onnx\""), "at files/../model.onnx, it is spelled"));
  CHECK(says(refusal("\"model.onnx\"", "\"..\""), "at files/.., it is spelled"));
  CHECK(says(refusal("\"model.onnx\"", "\"other.onnx\""), "at files, it has no model.onnx"));
  CHECK(says(refusal("\"vectors.npz\"", "\"missing.npz\""), "cannot be opened"));
  CHECK(says(refusal("\"min\": 1", "\"min\": 3"), "not min <= opt <= max"));
  CHECK(says(refusal("\"float32\"", "\"float31\""), "dtype, it is not one of"));
  CHECK(says(refusal("\"name\": \"y\"", "\"name\": \"x\""), "names x twice"));
  CHECK(says(refusal("\"name\": \"x\"", "\"name\": \"z\""), "signature is not the manifest's"));
  CHECK(says(refusal("\"max\": 4}, 3]}]}", "\"max\": 5}, 3]}]}"), "two different ranges"));
  CHECK(says(refusal("}}", "}"), "not JSON"));
}

TEST_CASE("a changed file is refused, at opening and at reading") {
  const tiny::Directory directory;
  const auto opened = BundleDirectory::open(directory.string());
  REQUIRE(opened);
  std::string bytes = tiny::vectors();
  bytes[100] ^= 1;
  tiny::write(directory.path() / "vectors.npz", bytes);
  CHECK(says(opened->read("vectors.npz").error().message, "SHA-256"));
  CHECK(says(BundleDirectory::open(directory.string()).error().message, "SHA-256"));
  tiny::write(directory.path() / "vectors.npz", bytes.substr(0, 50));
  CHECK(says(opened->read("vectors.npz").error().message, "has 50 bytes where the manifest says"));
  tiny::write(directory.path() / "vectors.npz", bytes + "x");
  CHECK(says(opened->read("vectors.npz").error().message, "at most"));
  CHECK(says(opened->read("../manifest.json").error().message, "has no ../manifest.json"));
}

TEST_CASE("the digest is held to what lies beside the manifest and to what is expected") {
  const tiny::Directory directory;
  const std::string own = temport::Bundle::open(directory.string())->digest();
  CHECK(temport::Bundle::open(directory.string(), {own, false}));
  const auto other = temport::Bundle::open(directory.string(), {std::string(64, '0'), false});
  CHECK(says(other.error().message, "is another bundle: its digest is " + own));
  tiny::write(directory.path() / "manifest.sha256", own + "  manifest.json\n");
  CHECK(temport::Bundle::open(directory.string(), {own, true}));
  tiny::write(directory.path() / "manifest.sha256", own + "  manifest.jsoN\n");
  CHECK(says(temport::Bundle::open(directory.string()).error().message, "differs from its manifest.sha256"));
}

TEST_CASE("a file that no manifest lists is refused only where that is asked for") {
  const tiny::Directory directory;
  CHECK(temport::Bundle::open(directory.string(), {"", true}));
  tiny::write(directory.path() / "model.onnx.data", "x");
  CHECK(temport::Bundle::open(directory.string()));
  CHECK(says(temport::Bundle::open(directory.string(), {"", true}).error().message, "data is not listed in the manifest"));
  std::filesystem::remove(directory.path() / "model.onnx.data");
  std::filesystem::create_directory(directory.path() / "engine");
  CHECK(temport::Bundle::open(directory.string() + "/", {"", true}));
  tiny::write(directory.path() / "engine" / "more", "x");
  CHECK(says(temport::Bundle::open(directory.string() + "/", {"", true}).error().message, "/engine/more is not listed"));
}

TEST_CASE("what is no file or no bundle is refused") {
  CHECK(!temport::Bundle::open("/nonexistent"));
  CHECK(says(temport::Bundle::open("").error().message, "the path is empty"));
  const tiny::Directory directory;
  std::filesystem::remove(directory.path() / "vectors.npz");
  REQUIRE(::mkfifo((directory.path() / "vectors.npz").c_str(), 0600) == 0);
  const auto opened = temport::Bundle::open(directory.string());
  REQUIRE(!opened);
  CHECK(says(opened.error().message, "not a regular file"));
}

TEST_CASE("a symbolic link is no file of a bundle, whatever it points to") {
  for (const std::string name : {"manifest.json", "model.onnx", "vectors.npz"}) {
    const tiny::Directory directory;
    const auto opened = BundleDirectory::open(directory.string());
    REQUIRE(opened);
    std::filesystem::rename(directory.path() / name, directory.path() / "moved");
    std::filesystem::create_symlink("moved", directory.path() / name);
    CHECK(says(temport::Bundle::open(directory.string()).error().message, name + " is a symbolic link"));
    if (name != "manifest.json") CHECK(says(opened->read(name).error().message, name + " is a symbolic link"));
    // A link to the directory as a whole is the user's own.
    std::filesystem::remove(directory.path() / name);
    std::filesystem::rename(directory.path() / "moved", directory.path() / name);
    const std::string link = directory.string() + "-link";
    std::filesystem::create_directory_symlink(directory.path(), link);
    CHECK(temport::Bundle::open(link));
    std::filesystem::remove(link);
  }
}

TEST_CASE("a model that describes itself otherwise is refused although its hash is right") {
  const tiny::Directory directory;
  std::string other = tiny::kSignature;
  for (int i = 0; i < 2; ++i) replace(other, "\"max\": 4", "\"max\": 8");
  for (const auto& model : {tiny::model(other), tiny::model("[]"), std::string("\1\2\3"), std::string()}) {
    tiny::write(directory.path() / "model.onnx", model);
    tiny::write(directory.path() / "manifest.json", tiny::manifest(model, tiny::vectors()));
    const auto opened = temport::Bundle::open(directory.string());
    REQUIRE(!opened);
    CHECK(says(opened.error().message, "model.onnx is refused"));
  }
}

TEST_CASE("vectors that do not match the signature are refused") {
  const tiny::Directory directory;
  const auto array = tiny::npy<float>(TEMPORT_FLOAT32, {1, 3}, {1, 2, 3});
  for (const auto& vectors : {tiny::zip({{"one/input/x.npy", array}}), tiny::zip({{"x.npy", array}}),
                              tiny::zip({{"one/input/x.npy", tiny::npy<double>(TEMPORT_FLOAT64, {1, 3}, {1, 2, 3})}})}) {
    tiny::write(directory.path() / "vectors.npz", vectors);
    tiny::write(directory.path() / "manifest.json", tiny::manifest(tiny::model(), vectors));
    const auto opened = temport::Bundle::open(directory.string());
    REQUIRE(opened);
    CHECK(opened->vectors().error().code == TEMPORT_REFUSED);
  }
  for (const double bound : {-1.0, std::numeric_limits<double>::infinity()}) {
    const auto vectors = tiny::zip({{"one/input/x.npy", array},
                                    {"one/output/y.npy", tiny::npy<double>(TEMPORT_FLOAT64, {1, 3}, {2, 4, 6})},
                                    {"one/bound/y.npy", tiny::npy<double>(TEMPORT_FLOAT64, {4}, {bound, 0, 6, 1})}});
    tiny::write(directory.path() / "vectors.npz", vectors);
    tiny::write(directory.path() / "manifest.json", tiny::manifest(tiny::model(), vectors));
    CHECK(says(temport::Bundle::open(directory.string())->vectors().error().message, "allows any error"));
  }
}
