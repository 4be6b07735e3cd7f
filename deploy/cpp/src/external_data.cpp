#include "external_data.h"

#include <string>

#include "protobuf.h"

namespace temport::internal {
namespace {

enum class Part { kModel, kTraining, kFunction, kGraph, kNode, kAttribute, kSparse, kTensor };

// Every field of onnx.proto3 that leads to a tensor, by its number.
struct Way {
  Part from;
  uint64_t field;
  Part to;
};
constexpr Way kWays[] = {
    {Part::kModel, 7, Part::kGraph},          {Part::kModel, 20, Part::kTraining},
    {Part::kModel, 25, Part::kFunction},      {Part::kTraining, 1, Part::kGraph},
    {Part::kTraining, 2, Part::kGraph},       {Part::kFunction, 7, Part::kNode},
    {Part::kFunction, 11, Part::kAttribute},  {Part::kGraph, 1, Part::kNode},
    {Part::kGraph, 5, Part::kTensor},         {Part::kGraph, 15, Part::kSparse},
    {Part::kNode, 5, Part::kAttribute},       {Part::kAttribute, 5, Part::kTensor},
    {Part::kAttribute, 6, Part::kGraph},      {Part::kAttribute, 10, Part::kTensor},
    {Part::kAttribute, 11, Part::kGraph},     {Part::kAttribute, 22, Part::kSparse},
    {Part::kAttribute, 23, Part::kSparse},    {Part::kSparse, 1, Part::kTensor},
    {Part::kSparse, 2, Part::kTensor},
};
constexpr uint64_t kTensorName = 8, kTensorExternalData = 13, kTensorDataLocation = 14, kEntryKey = 1, kEntryValue = 2;
constexpr uint64_t kNodeDomain = 7;
constexpr int kDeepestPart = 100;  // as deep as protobuf's own readers go

Error no_model() { return refused("it is not an ONNX model"); }

class ExternalDataCheck {
 public:
  explicit ExternalDataCheck(const std::function<bool(std::string_view)>& listed) : listed_(listed) {}

  // `main`: a graph that is the model's own, or a tensor that is one of its initializers. `body`: inside a function.
  Result<void> part(Part kind, std::string_view bytes, bool main, int depth, bool body = false) const {
    if (depth > kDeepestPart) return no_model();
    if (kind == Part::kTensor) return tensor(bytes, main);
    Message message(bytes);
    while (!message.at_end()) {
      uint64_t number;
      std::string_view payload;
      if (!message.step(number, payload)) return no_model();
      // Forty functions of two calls each are 2^40 nodes, which a runtime would write out before it asks any op.
      if (body && kind == Part::kNode && number == kNodeDomain && !payload.empty() && payload != "ai.onnx")
        return refused("the body of a function has a node of domain " + std::string(payload));
      for (const Way& way : kWays) {
        if (way.from != kind || way.field != number) continue;
        const bool inner_main = kind == Part::kModel ? way.to == Part::kGraph : main && way.to == Part::kTensor;
        const bool inner_body = body || way.to == Part::kFunction;
        if (auto checked = part(way.to, payload, inner_main, depth + 1, inner_body); !checked) return checked;
      }
    }
    return {};
  }

 private:
  Result<void> tensor(std::string_view bytes, bool main) const {
    std::string name;
    bool external = false, located = false;
    Result<void> allowed;
    Message message(bytes);
    while (!message.at_end()) {
      uint64_t number, value = 0;
      std::string_view payload;
      if (!message.step(number, payload, value)) return no_model();
      if (number == kTensorName) name = payload;
      if (number == kTensorDataLocation && value != 0) external = true;
      if (number != kTensorExternalData) continue;
      external = true;
      if (auto checked = entry(payload, located); !checked) allowed = checked;
    }
    if (!external) return {};
    if (!main) return refused("it reads a file for " + name + ", which is no weight of its main graph");
    if (!located) return refused("it keeps " + name + " in a file and does not say in which");
    return allowed;
  }

  Result<void> entry(std::string_view bytes, bool& located) const {
    std::string_view key, text;
    Message message(bytes);
    while (!message.at_end()) {
      uint64_t number;
      std::string_view payload;
      if (!message.step(number, payload)) return no_model();
      if (number == kEntryKey) key = payload;
      if (number == kEntryValue) text = payload;
    }
    if (key != "location") return {};
    located = true;
    if (listed_(text)) return {};
    return refused("it reads " + std::string(text) + ", which is no file of weights that the manifest lists");
  }

  const std::function<bool(std::string_view)>& listed_;
};

}  // namespace

Result<void> check_external_data(std::string_view model, const std::function<bool(std::string_view)>& listed) {
  // ONNX Runtime would take it for a file of its own format, whatever else it is.
  if (model.size() >= 8 && model.substr(4, 4) == "ORTM") return refused("it is in ONNX Runtime's own format");
  return ExternalDataCheck(listed).part(Part::kModel, model, true, 1);
}

}  // namespace temport::internal
