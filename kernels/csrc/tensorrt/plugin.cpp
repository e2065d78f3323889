#include "plugin.h"

#include <new>

#include "../../include/ovk.h"

namespace ovk::tensorrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;

constexpr int32_t kFailed = -1;  // TensorRT knows no other kind of failure
constexpr int32_t kSources = 4;
constexpr int32_t kInputs = 3;
enum Input : int32_t { kRows, kIndices, kWeights };

int32_t dtype_of(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return OVK_FLOAT32;
    case DataType::kHALF:
      return OVK_FLOAT16;
    case DataType::kBF16:
      return OVK_BFLOAT16;
    default:
      return -1;
  }
}

bool right_types(DataType rows, DataType indices, DataType weights) {
  return dtype_of(rows) >= 0 && indices == DataType::kINT32 && weights == DataType::kFLOAT;
}

bool right_ranks(int32_t rows, int32_t indices, int32_t weights) { return rows == 2 && indices == 2 && weights == 2; }

bool right_counts(int32_t num_inputs, int32_t num_outputs) {
  if (num_inputs == kInputs && num_outputs == 1) return true;
  log_error("has 3 inputs and 1 output, not %d and %d", num_inputs, num_outputs);
  return false;
}

bool may_be(nvinfer1::IDimensionExpr const& extent, int64_t value) {
  return !extent.isConstant() || extent.getConstantValue() == value;
}

bool consistent(Dims const& rows, Dims const& indices, Dims const& weights, Dims const& out) {
  return right_ranks(rows.nbDims, indices.nbDims, weights.nbDims) && out.nbDims == 2 && indices.d[1] == kSources &&
         weights.d[1] == kSources && weights.d[0] == indices.d[0] && out.d[0] == indices.d[0] && out.d[1] == rows.d[1];
}

}  // namespace

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* Plugin::clone() noexcept { return new (std::nothrow) Plugin(rows_in_flight_); }

int32_t Plugin::getOutputDataTypes(DataType* types, int32_t num_outputs, DataType const* input_types,
                                   int32_t num_inputs) const noexcept {
  if (!right_counts(num_inputs, num_outputs)) return kFailed;
  if (!right_types(input_types[kRows], input_types[kIndices], input_types[kWeights])) {
    log_error("takes float32, float16 or bfloat16 rows, int32 indices and float32 weights");
    return kFailed;
  }
  types[0] = input_types[kRows];
  return 0;
}

int32_t Plugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t num_inputs,
                                nvinfer1::DimsExprs const* /*shape_inputs*/, int32_t /*num_shape_inputs*/,
                                nvinfer1::DimsExprs* outputs, int32_t num_outputs,
                                nvinfer1::IExprBuilder& /*builder*/) noexcept {
  if (!right_counts(num_inputs, num_outputs)) return kFailed;
  auto const &rows = inputs[kRows], &indices = inputs[kIndices], &weights = inputs[kWeights];
  if (!right_ranks(rows.nbDims, indices.nbDims, weights.nbDims) || !may_be(*indices.d[1], kSources) ||
      !may_be(*weights.d[1], kSources)) {
    log_error("takes rows [R,D], indices [T,4] and weights [T,4]");
    return kFailed;
  }
  outputs[0].nbDims = 2;
  outputs[0].d[0] = indices.d[0];
  outputs[0].d[1] = rows.d[1];
  return 0;
}

bool Plugin::supportsFormatCombination(int32_t position, nvinfer1::DynamicPluginTensorDesc const* tensors,
                                       int32_t num_inputs, int32_t num_outputs) noexcept {
  if (!right_counts(num_inputs, num_outputs) || position < 0 || position > kInputs) return false;
  nvinfer1::PluginTensorDesc const& asked = tensors[position].desc;
  if (asked.format != nvinfer1::TensorFormat::kLINEAR) return false;
  switch (position) {
    case kRows:
      return dtype_of(asked.type) >= 0;
    case kIndices:
      return asked.type == DataType::kINT32;
    case kWeights:
      return asked.type == DataType::kFLOAT;
    default:
      return asked.type == tensors[kRows].desc.type;
  }
}

int32_t Plugin::configurePlugin(nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t num_inputs,
                                nvinfer1::DynamicPluginTensorDesc const* outputs, int32_t num_outputs) noexcept {
  if (!right_counts(num_inputs, num_outputs)) return kFailed;
  auto const &rows = inputs[kRows].desc, &indices = inputs[kIndices].desc, &weights = inputs[kWeights].desc;
  const bool right = right_ranks(rows.dims.nbDims, indices.dims.nbDims, weights.dims.nbDims) &&
                     right_types(rows.type, indices.type, weights.type) && outputs[0].desc.type == rows.type;
  if (!right) log_error("was configured for ranks or types that it does not have");
  return right ? 0 : kFailed;
}

int32_t Plugin::onShapeChange(nvinfer1::PluginTensorDesc const* inputs, int32_t num_inputs,
                              nvinfer1::PluginTensorDesc const* outputs, int32_t num_outputs) noexcept {
  if (!right_counts(num_inputs, num_outputs)) return kFailed;
  if (consistent(inputs[kRows].dims, inputs[kIndices].dims, inputs[kWeights].dims, outputs[0].dims)) return 0;
  log_error("was given shapes that are not rows [R,D], indices [T,4], weights [T,4] and [T,D]");
  return kFailed;
}

// Nobody looks at a flag behind an engine, so a token with an index outside comes out as zeros: whoever makes plans
// (ovrun.tiling) checks every index before it hands them over.
int32_t Plugin::enqueue(nvinfer1::PluginTensorDesc const* input_descs, nvinfer1::PluginTensorDesc const* output_descs,
                        void const* const* inputs, void* const* outputs, void* /*workspace*/,
                        cudaStream_t stream) noexcept {
  ovk_token_pool pool = {};
  pool.rows = inputs[kRows];
  pool.indices = static_cast<int32_t const*>(inputs[kIndices]);
  pool.weights = static_cast<float const*>(inputs[kWeights]);
  pool.out = outputs[0];
  pool.num_rows = input_descs[kRows].dims.d[0];
  pool.num_tokens = output_descs[0].dims.d[0];
  pool.dim = output_descs[0].dims.d[1];
  pool.dtype = dtype_of(input_descs[kRows].type);
  const int32_t status = ovk_token_pool_cuda(&pool, rows_in_flight_, nullptr, stream);
  if (status == OVK_OK) return 0;
  log_error("failed: %s", ovk_status_text(status));
  return kFailed;
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept { return clone(); }

nvinfer1::PluginFieldCollection const* Plugin::getFieldsToSerialize() noexcept {
  field_ = {kRowsInFlight, &rows_in_flight_, nvinfer1::PluginFieldType::kINT32, 1};
  fields_ = {1, &field_};
  return &fields_;
}

}  // namespace ovk::tensorrt
