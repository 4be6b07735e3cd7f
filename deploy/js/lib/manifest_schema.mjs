// exporter/bundle/manifest.schema.json as a module; deploy/js/make_schema.sh writes it and a test compares the two.
export default {
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "temport bundle manifest",
  "type": "object",
  "properties": {
    "format": {"enum": [1]},
    "semantics": {"enum": [1]},
    "temport": {"$ref": "#/$defs/text"},
    "declaration": {"$ref": "#/$defs/declaration"},
    "signature": {"$ref": "#/$defs/signature"},
    "files": {
      "type": "object",
      "required": ["model.onnx"],
      "maxProperties": 256,
      "propertyNames": {"$ref": "#/$defs/file_name"},
      "additionalProperties": {"$ref": "#/$defs/file"}
    },
    "masks": {"type": "array", "items": {"$ref": "#/$defs/mask"}},
    "versions": {"type": "object", "additionalProperties": {"$ref": "#/$defs/text"}},
    "verdict": {"enum": ["pass", "fail"]},
    "source": {"$ref": "#/$defs/sha256"},
    "stream": {"$ref": "#/$defs/stream"}
  },
  "required": ["format", "semantics", "temport", "declaration", "signature", "files", "masks", "versions"],
  "additionalProperties": false,
  "$defs": {
    "text": {"type": "string", "maxLength": 255},
    "name": {"type": "string", "minLength": 1, "maxLength": 255, "not": {"pattern": "[\\x00-\\x1f\\x7f]"}},
    "file_name": {
      "type": "string", "minLength": 1, "maxLength": 255,
      "not": {"pattern": "^(engine/)?\\.{0,2}$|^(?!engine/[^/]*$)[^/]*/|[\\\\\\x00-\\x1f\\x7f]"}
    },
    "sha256": {"type": "string", "minLength": 64, "maxLength": 64, "pattern": "^[0-9a-f]{64}$"},
    "size": {"type": "integer", "minimum": 1, "maximum": 1099511627776},
    "size_or_none": {"type": "integer", "minimum": 0, "maximum": 1099511627776},
    "count": {"type": "integer", "minimum": 0, "maximum": 9007199254740991},
    "axis": {
      "type": ["integer", "object"], "minimum": 1, "maximum": 1099511627776,
      "properties": {
        "name": {"$ref": "#/$defs/name"},
        "min": {"$ref": "#/$defs/size_or_none"},
        "opt": {"$ref": "#/$defs/size_or_none"},
        "max": {"$ref": "#/$defs/size"}
      },
      "required": ["name", "min", "opt", "max"],
      "additionalProperties": false
    },
    "tensor": {
      "type": "object",
      "properties": {
        "name": {"$ref": "#/$defs/name"},
        "dtype": {"enum": ["bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]},
        "shape": {"type": "array", "maxItems": 8, "items": {"$ref": "#/$defs/axis"}},
        "values": {"$ref": "#/$defs/values"}
      },
      "required": ["name", "dtype", "shape"],
      "additionalProperties": false
    },
    "values": {
      "type": ["object", "null"],
      "properties": {
        "low": {"$ref": "#/$defs/text"},
        "high": {"$ref": "#/$defs/text"},
        "prefix": {"type": "boolean"},
        "ignore": {"type": "boolean"}
      },
      "required": ["low", "high", "prefix", "ignore"],
      "additionalProperties": false
    },
    "tensors": {"type": "array", "minItems": 1, "maxItems": 256, "items": {"$ref": "#/$defs/tensor"}},
    "signature": {
      "type": "object",
      "properties": {
        "inputs": {"$ref": "#/$defs/tensors"},
        "outputs": {"$ref": "#/$defs/tensors"},
        "states": {"type": "array", "minItems": 1, "maxItems": 256, "items": {"$ref": "#/$defs/state"}}
      },
      "required": ["inputs", "outputs"],
      "additionalProperties": false
    },
    "state": {
      "type": "object",
      "properties": {
        "input": {"$ref": "#/$defs/name"},
        "output": {"$ref": "#/$defs/name"},
        "in_place": {"type": "boolean"}
      },
      "required": ["input", "output"],
      "additionalProperties": false
    },
    "file": {
      "type": "object",
      "properties": {"sha256": {"$ref": "#/$defs/sha256"}, "bytes": {"$ref": "#/$defs/count"}},
      "required": ["sha256", "bytes"],
      "additionalProperties": false
    },
    "mask": {
      "type": "object",
      "properties": {
        "name": {"type": "string"},
        "rule": {"type": "string"},
        "shape": {"type": "array", "minItems": 2, "maxItems": 2, "items": {"$ref": "#/$defs/count"}}
      },
      "required": ["name", "rule", "shape"],
      "additionalProperties": false
    },
    "option": {
      "type": ["string", "number", "boolean", "null", "array"],
      "items": {"type": ["string", "number", "boolean", "null"]}
    },
    "count_or_never": {"type": ["integer", "null"], "minimum": 0, "maximum": 9007199254740991},
    "rate": {"type": "number", "minimum": 1e-9, "maximum": 1e9},
    "input_scale": {"type": "number", "minimum": 1e-45, "maximum": 3.4e38},
    "stream": {
      "type": "object",
      "properties": {
        "reset": {"enum": ["zeros"]},
        "static": {"type": "array", "maxItems": 256, "items": {"$ref": "#/$defs/name"}},
        "delay": {"$ref": "#/$defs/count"},
        "rate": {"$ref": "#/$defs/rate"},
        "warm_up": {"$ref": "#/$defs/count_or_never"},
        "window": {"$ref": "#/$defs/count"},
        "frames": {"$ref": "#/$defs/count"}
      },
      "required": ["reset", "static", "delay"],
      "additionalProperties": false
    },
    "sequences": {
      "type": "object",
      "properties": {
        "inputs": {"$ref": "#/$defs/tensors"},
        "outputs": {"$ref": "#/$defs/tensors"},
        "begins": {"type": "array", "items": {"$ref": "#/$defs/count"}},
        "delay": {"$ref": "#/$defs/count"},
        "kept": {"$ref": "#/$defs/count"},
        "warm_up": {"$ref": "#/$defs/count_or_never"},
        "window": {"$ref": "#/$defs/count"},
        "frames": {"$ref": "#/$defs/count"}
      },
      "required": ["inputs", "outputs", "begins", "delay", "kept"],
      "additionalProperties": false
    },
    "declaration": {
      "type": "object",
      "properties": {
        "arch": {"$ref": "#/$defs/name"},
        "options": {"type": "object", "additionalProperties": {"$ref": "#/$defs/option"}},
        "inputs": {"$ref": "#/$defs/tensors"},
        "outputs": {"$ref": "#/$defs/tensors"},
        "opset": {"$ref": "#/$defs/count"},
        "ops": {"enum": ["custom", "standard"]},
        "precision": {"enum": ["float32", "float16", "bfloat16"]},
        "weights_dtype": {"enum": ["float32", "fp16", "int8", "int4", "fp8"]},
        "input_scales": {"type": "object", "additionalProperties": {"$ref": "#/$defs/input_scale"}},
        "kv_dtype": {"enum": ["float32", "fp16"]},
        "prune": {"type": "boolean"},
        "without": {"type": "array", "items": {"$ref": "#/$defs/text"}},
        "seed": {"type": "integer", "minimum": -9223372036854775808, "maximum": 18446744073709551615},
        "weights": {"$ref": "#/$defs/text"},
        "module": {"type": ["string", "null"]},
        "returns": {"type": "array", "items": {"type": "string"}},
        "semantics": {"enum": [1]},
        "notes": {"type": "array", "items": {"type": "string"}},
        "streaming": {"type": "boolean"},
        "horizon": {"$ref": "#/$defs/count"},
        "sequences": {"$ref": "#/$defs/sequences"},
        "rate": {"$ref": "#/$defs/rate"}
      },
      "required": ["arch", "options", "inputs", "outputs", "opset", "ops", "precision", "seed", "weights", "semantics", "notes"],
      "additionalProperties": false
    }
  }
}
