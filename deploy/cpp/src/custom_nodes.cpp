#include "custom_nodes.h"

#include <charconv>
#include <map>
#include <string_view>

#include "protobuf.h"
#include "tensor.h"

namespace temport::internal {
namespace {

// Field numbers of onnx.proto3.
namespace field {
constexpr uint64_t kModelGraph = 7;
constexpr uint64_t kGraphNode = 1, kGraphInitializer = 5, kGraphInput = 11, kGraphValueInfo = 13;
constexpr uint64_t kNodeInput = 1, kNodeOpType = 4, kNodeAttribute = 5, kNodeDomain = 7;
constexpr uint64_t kAttributeGraph = 6, kAttributeGraphs = 11;
constexpr uint64_t kValueName = 1, kValueType = 2, kTypeTensor = 1, kTensorTypeElement = 1;
constexpr uint64_t kTensorDataType = 2, kTensorName = 8;
}  // namespace field

constexpr int kDeepestGraph = 32;
constexpr std::string_view kOurs = "temport";

using ValueTypes = std::map<std::string_view, int>;

// Calls visit(number, payload, value) for each field; false where the bytes are not well formed or a visit says false.
template <class Visit>
bool each_field(std::string_view bytes, const Visit& visit) {
  Message message(bytes);
  while (!message.at_end()) {
    uint64_t number, value = 0;
    std::string_view payload;
    if (!message.step(number, payload, value) || !visit(number, payload, value)) return false;
  }
  return true;
}

bool read_value_type(std::string_view info, ValueTypes& types) {
  std::string_view name;
  int type = 0;
  const auto in_tensor = [&](uint64_t number, std::string_view, uint64_t value) {
    if (number == field::kTensorTypeElement) type = static_cast<int>(value);
    return true;
  };
  const auto in_type = [&](uint64_t number, std::string_view payload, uint64_t) {
    return number != field::kTypeTensor || each_field(payload, in_tensor);
  };
  const bool read = each_field(info, [&](uint64_t number, std::string_view payload, uint64_t) {
    if (number == field::kValueName) name = payload;
    return number != field::kValueType || each_field(payload, in_type);
  });
  types[name] = type;
  return read;
}

bool read_tensor_type(std::string_view tensor, ValueTypes& types) {
  std::string_view name;
  int type = 0;
  const bool read = each_field(tensor, [&](uint64_t number, std::string_view payload, uint64_t value) {
    if (number == field::kTensorName) name = payload;
    if (number == field::kTensorDataType) type = static_cast<int>(value);
    return true;
  });
  types[name] = type;
  return read;
}

int body_of(std::string_view domain) {
  if (domain == kOurs) return 1;
  const std::string_view place = domain.substr(kOurs.size() + 1);
  int body = 0;
  const auto [end, error] = std::from_chars(place.data(), place.data() + place.size(), body);
  return error == std::errc() && end == place.data() + place.size() && body > 1 ? body : kNoBody;
}

bool read_graph(std::string_view graph, ValueTypes types, int depth, std::vector<CustomNode>& found);

bool read_node(std::string_view node, const ValueTypes& types, int depth, std::vector<CustomNode>& found) {
  std::string_view op, domain, first_input;
  bool has_input = false;
  const auto in_attribute = [&](uint64_t number, std::string_view payload, uint64_t) {
    const bool graph = number == field::kAttributeGraph || number == field::kAttributeGraphs;
    return !graph || read_graph(payload, types, depth + 1, found);
  };
  const bool read = each_field(node, [&](uint64_t number, std::string_view payload, uint64_t) {
    if (number == field::kNodeOpType) op = payload;
    if (number == field::kNodeDomain) domain = payload;
    if (number == field::kNodeInput && !has_input) has_input = true, first_input = payload;
    return number != field::kNodeAttribute || each_field(payload, in_attribute);
  });
  const bool ours = domain == kOurs || domain.substr(0, kOurs.size() + 1) == "temport.";
  if (!read || !ours) return read;
  const auto type = types.find(first_input);
  found.push_back({std::string(op), body_of(domain), type == types.end() ? 0 : type->second});
  return true;
}

// `types` are those of the values around the graph. Types come after the nodes in a file, so it is read twice.
bool read_graph(std::string_view graph, ValueTypes types, int depth, std::vector<CustomNode>& found) {
  if (depth > kDeepestGraph) return false;
  const auto types_of = [&](uint64_t number, std::string_view payload, uint64_t) {
    if (number == field::kGraphInput || number == field::kGraphValueInfo) return read_value_type(payload, types);
    return number != field::kGraphInitializer || read_tensor_type(payload, types);
  };
  return each_field(graph, types_of) && each_field(graph, [&](uint64_t number, std::string_view payload, uint64_t) {
           return number != field::kGraphNode || read_node(payload, types, depth, found);
         });
}

}  // namespace

Result<std::vector<CustomNode>> read_custom_nodes(const uint8_t* bytes, size_t size) {
  std::vector<CustomNode> found;
  const std::string_view model(reinterpret_cast<const char*>(bytes), size);
  const bool read = each_field(model, [&](uint64_t number, std::string_view payload, uint64_t) {
    return number != field::kModelGraph || read_graph(payload, {}, 1, found);
  });
  if (!read) return refused("model.onnx is refused: it is not an ONNX model");
  return found;
}

}  // namespace temport::internal
