// The TensorRT plugin without TensorRT and without a GPU: what a builder, a parser and an engine would ask it, with
// stand-ins for their side and the emulated kernel behind `enqueue`.
//
//     check_plugin LIBRARY      LIBRARY: the flavour that registers itself
#include <dlfcn.h>

#include <cstring>
#include <string_view>

#include "../../../kernels/csrc/tensorrt/plugin.h"
#include "../../../kernels/include/ovk.h"
#include "check.h"
#include "stand_ins.h"

using nvinfer1::DataType;
using nvinfer1::PluginCapabilityType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorFormat;
using nvinfer1::TensorRTPhase;

extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& num_creators);

namespace {

using PluginPtr = std::unique_ptr<nvinfer1::IPluginV3>;

LogFinder logs;
Registry registry;
bool tensorrt_loaded = false;

nvinfer1::IPluginCreatorV3One& creator() {
  int32_t count = 0;
  auto* const* creators = getCreators(count);
  CHECK(count == 1);
  return *static_cast<nvinfer1::IPluginCreatorV3One*>(creators[0]);
}

PluginPtr create(PluginFieldCollection const* fields, TensorRTPhase phase = TensorRTPhase::kBUILD) {
  return PluginPtr(creator().createPlugin("pool", fields, phase));
}

template <class Capability>
Capability& as(PluginPtr const& plugin, PluginCapabilityType type) {
  return *static_cast<Capability*>(plugin->getCapabilityInterface(type));
}

nvinfer1::IPluginV3OneBuild& build_side(PluginPtr const& plugin) {
  return as<nvinfer1::IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
}

nvinfer1::IPluginV3OneRuntime& run_side(PluginPtr const& plugin) {
  return as<nvinfer1::IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
}

template <class Side>
void check_name(Side& side) {
  CHECK(side.getPluginName() == std::string_view("BilinearTokenPool"));
  CHECK(side.getPluginVersion() == std::string_view("1"));
  CHECK(side.getPluginNamespace() == std::string_view(""));
}

void check_creator() {
  check_name(creator());
  PluginFieldCollection const* names = creator().getFieldNames();
  CHECK(names->nbFields == 1 && names->fields[0].name == std::string_view("rows_in_flight"));
  const PluginFieldCollection none = {0, nullptr};
  for (const TensorRTPhase phase : {TensorRTPhase::kBUILD, TensorRTPhase::kRUNTIME}) {
    CHECK(create(nullptr, phase));
    CHECK(create(&none, phase));
  }
  const PluginPtr plugin = create(nullptr);
  check_name(as<nvinfer1::IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE));
  CHECK(plugin->getCapabilityInterface(static_cast<PluginCapabilityType>(7)) == nullptr);
}

// What is serialised, read back, serialised again; through clones and through what a context gets.
void check_fields_survive() {
  for (const int32_t value : {0, 1, 2, 4}) {
    const PluginField field("rows_in_flight", &value, PluginFieldType::kINT32, 1);
    const PluginFieldCollection fields = {1, &field};
    PluginPtr plugin = create(&fields);
    for (int step = 0; step < 3; ++step) {
      if (step == 1) plugin = PluginPtr(plugin->clone());
      if (step == 2) plugin = PluginPtr(run_side(plugin).attachToContext(nullptr));
      PluginFieldCollection const* kept = run_side(plugin).getFieldsToSerialize();
      CHECK(kept->nbFields == 1 && kept->fields[0].type == PluginFieldType::kINT32 && kept->fields[0].length == 1);
      CHECK(*static_cast<int32_t const*>(kept->fields[0].data) == value);
      CHECK(kept->fields[0].name == std::string_view("rows_in_flight"));
      plugin = create(kept, TensorRTPhase::kRUNTIME);
    }
  }
}

void check_bad_fields() {
  const int32_t one = 1, three = 3, minus = -1;
  const float real = 1;
  const PluginField bad[] = {
      {"rows_in_flight", &three, PluginFieldType::kINT32, 1},
      {"rows_in_flight", &minus, PluginFieldType::kINT32, 1},
      {"rows_in_flight", &one, PluginFieldType::kINT32, 0},
      {"rows_in_flight", &one, PluginFieldType::kINT32, 2},
      {"rows_in_flight", nullptr, PluginFieldType::kINT32, 1},
      {"rows_in_flight", &real, PluginFieldType::kFLOAT32, 1},
      {"rows_in_flight", &one, PluginFieldType::kUNKNOWN, 1},
      {"rows_in_flight", &one, PluginFieldType::kINT32, -1},
      {"in_flight_rows", &one, PluginFieldType::kINT32, 1},
      {"", &one, PluginFieldType::kINT32, 1},
      {nullptr, &one, PluginFieldType::kINT32, 1},
      {},
      {"plugin_version", "1", PluginFieldType::kCHAR, 1},
  };
  for (PluginField const& field : bad) {
    const PluginField both[] = {{"rows_in_flight", &one, PluginFieldType::kINT32, 1}, field};
    const PluginFieldCollection alone = {1, &field}, second = {2, both};
    const int errors = logs.log.errors;
    CHECK(!create(&alone) && !create(&second), "field '%s'", field.name ? field.name : "(null)");
    CHECK(logs.log.errors == errors + 2 && logs.log.last.find("rows_in_flight") != std::string::npos);
  }
  const PluginFieldCollection unreadable = {1, nullptr}, negative = {-1, nullptr};
  CHECK(!create(&unreadable) && !create(&negative));
  setLoggerFinder(nullptr);  // nobody to tell: still refused
  CHECK(!create(&unreadable));
  setLoggerFinder(&logs);
}

void check_types() {
  const PluginPtr plugin = create(nullptr);
  int accepted = 0;
  for (int32_t type = 0; type < 12; ++type) {
    const DataType rows = static_cast<DataType>(type), right[] = {rows, DataType::kINT32, DataType::kFLOAT};
    const DataType long_indices[] = {rows, DataType::kINT64, DataType::kFLOAT};
    const DataType half_weights[] = {rows, DataType::kINT32, DataType::kHALF};
    DataType out = DataType::kINT8;
    const bool known = rows == DataType::kFLOAT || rows == DataType::kHALF || rows == DataType::kBF16;
    CHECK((build_side(plugin).getOutputDataTypes(&out, 1, right, 3) == 0) == known, "type %d", type);
    CHECK(!known || out == rows);
    CHECK(build_side(plugin).getOutputDataTypes(&out, 1, long_indices, 3) != 0);
    CHECK(build_side(plugin).getOutputDataTypes(&out, 1, half_weights, 3) != 0);
    CHECK(build_side(plugin).getOutputDataTypes(&out, 1, right, 2) != 0);
    CHECK(build_side(plugin).getOutputDataTypes(&out, 2, right, 3) != 0);
    accepted += known;
  }
  CHECK(accepted == 3 && build_side(plugin).getNbOutputs() == 1);
}

void check_shapes() {
  constexpr int64_t kAny = -1;
  const PluginPtr plugin = create(nullptr);
  Dimensions dimensions;
  const auto shapes_of = [&](std::vector<int64_t> rows, std::vector<int64_t> indices, std::vector<int64_t> weights) {
    const nvinfer1::DimsExprs in[] = {dimensions.shape(rows), dimensions.shape(indices), dimensions.shape(weights)};
    nvinfer1::DimsExprs out = {};
    const int32_t status = build_side(plugin).getOutputShapes(in, 3, nullptr, 0, &out, 1, dimensions);
    if (status == 0) CHECK(out.nbDims == 2 && out.d[0] == in[1].d[0] && out.d[1] == in[0].d[1]);
    CHECK(build_side(plugin).getOutputShapes(in, 2, nullptr, 0, &out, 1, dimensions) != 0);
    return status == 0;
  };
  CHECK(shapes_of({kAny, 896}, {kAny, 4}, {kAny, 4}));
  CHECK(shapes_of({kAny, kAny}, {kAny, kAny}, {kAny, kAny}));
  CHECK(shapes_of({1459, 3584}, {729, 4}, {729, 4}));
  CHECK(!shapes_of({1, kAny, 896}, {kAny, 4}, {kAny, 4}));
  CHECK(!shapes_of({kAny, 896}, {kAny}, {kAny, 4}));
  CHECK(!shapes_of({kAny, 896}, {kAny, 3}, {kAny, 4}));
  CHECK(!shapes_of({kAny, 896}, {kAny, 4}, {kAny, 5}));
}

nvinfer1::PluginTensorDesc tensor(DataType type, std::vector<int64_t> const& extents,
                                  TensorFormat format = TensorFormat::kLINEAR) {
  nvinfer1::PluginTensorDesc made = {};
  made.dims.nbDims = static_cast<int32_t>(extents.size());
  for (size_t i = 0; i < extents.size(); ++i) made.dims.d[i] = extents[i];
  made.type = type;
  made.format = format;
  return made;
}

// All types and formats at all positions: three combinations are to be found, the rows' type three ways.
void check_formats() {
  const PluginPtr plugin = create(nullptr);
  int accepted = 0;
  for (int32_t code = 0; code < 9 * 9 * 9 * 9; ++code) {
    nvinfer1::DynamicPluginTensorDesc tensors[4] = {};
    bool all = true;
    for (int32_t position = 0, rest = code; position < 4; ++position, rest /= 9) {
      tensors[position].desc = tensor(static_cast<DataType>(rest % 9), {});
      all = all && build_side(plugin).supportsFormatCombination(position, tensors, 3, 1);
    }
    accepted += all;
    if (!all) continue;
    CHECK(tensors[0].desc.type == tensors[3].desc.type && build_side(plugin).configurePlugin(tensors, 3, tensors, 1));
    for (int32_t position = 0; position < 4; ++position) {
      tensors[position].desc.format = TensorFormat::kCHW32;
      CHECK(!build_side(plugin).supportsFormatCombination(position, tensors, 3, 1));
    }
    CHECK(!build_side(plugin).supportsFormatCombination(4, tensors, 3, 1));
    CHECK(!build_side(plugin).supportsFormatCombination(-1, tensors, 3, 1));
  }
  CHECK(accepted == 3, "%d", accepted);
}

void check_configured() {
  const PluginPtr plugin = create(nullptr);
  nvinfer1::DynamicPluginTensorDesc in[3] = {}, out[1] = {};
  in[0].desc = tensor(DataType::kBF16, {-1, 896});
  in[1].desc = tensor(DataType::kINT32, {-1, 4});
  in[2].desc = tensor(DataType::kFLOAT, {-1, 4});
  out[0].desc = tensor(DataType::kBF16, {-1, 896});
  CHECK(build_side(plugin).configurePlugin(in, 3, out, 1) == 0);
  CHECK(build_side(plugin).configurePlugin(in, 3, out, 0) != 0);
  out[0].desc.type = DataType::kHALF;
  CHECK(build_side(plugin).configurePlugin(in, 3, out, 1) != 0);
}

// The engine's side: shapes first, then the emulated kernel on host memory, against a call without the plugin.
void check_runs() {
  const PluginPtr plugin = create(nullptr);
  constexpr int64_t kNumRows = 5, kNumTokens = 3, kDim = 24;
  std::vector<float> rows(kNumRows * kDim), out(kNumTokens * kDim), expected(kNumTokens * kDim);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = 1.0f / static_cast<float>(i + 1);
  const int32_t indices[] = {0, 1, 2, 3, 4, 4, 4, 4, 3, 0, 1, 0};
  const float weights[] = {0.1f, 0.2f, 0.3f, 0.4f, 1, 0, 0, 0, 0.5f, 0, 0.5f, 0};
  nvinfer1::PluginTensorDesc in[] = {tensor(DataType::kFLOAT, {kNumRows, kDim}),
                                     tensor(DataType::kINT32, {kNumTokens, 4}),
                                     tensor(DataType::kFLOAT, {kNumTokens, 4})};
  nvinfer1::PluginTensorDesc to = tensor(DataType::kFLOAT, {kNumTokens, kDim});
  void const* inputs[] = {rows.data(), indices, weights};
  void* outputs[] = {out.data()};
  ovk_token_pool pool = {rows.data(), indices, weights, expected.data(), kNumRows, kNumTokens, kDim, OVK_FLOAT32};
  CHECK(ovk_token_pool_cuda(&pool, 0, nullptr, nullptr) == OVK_OK && expected[kDim] == rows[4 * kDim]);
  CHECK(run_side(plugin).onShapeChange(in, 3, &to, 1) == 0);
  CHECK(run_side(plugin).enqueue(in, &to, inputs, outputs, nullptr, nullptr) == 0);
  CHECK(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)) == 0);
  inputs[0] = nullptr;
  CHECK(run_side(plugin).enqueue(in, &to, inputs, outputs, nullptr, nullptr) != 0);
  CHECK(logs.log.last.find("null") != std::string::npos, "%s", logs.log.last.c_str());
  to.dims.d[0] = kNumTokens + 1;
  CHECK(run_side(plugin).onShapeChange(in, 3, &to, 1) != 0);
  in[1].dims.d[1] = 3;
  CHECK(run_side(plugin).onShapeChange(in, 3, &to, 1) != 0);
  CHECK(run_side(plugin).onShapeChange(in, 1, &to, 1) != 0);
}

// Opened before TensorRT is there it complains and does no harm; opened afterwards it registers.
void check_registers_itself(char const* library) {
  void* early = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  CHECK(early && registry.creators.empty(), "%s", early ? "" : dlerror());
  if (num_failed) return;
  dlclose(early);
  tensorrt_loaded = true;
  CHECK(dlopen(library, RTLD_NOW | RTLD_LOCAL));
  CHECK(registry.creators.size() == 1 && registry.namespaces[0].empty());
  if (num_failed) return;
  auto& found = *static_cast<nvinfer1::IPluginCreatorV3One*>(registry.creators[0]);
  check_name(found);
  CHECK(PluginPtr(found.createPlugin("pool", nullptr, TensorRTPhase::kRUNTIME)));
}

}  // namespace

extern "C" OVK_API nvinfer1::IPluginRegistry* getPluginRegistry() noexcept {
  return tensorrt_loaded ? &registry : nullptr;
}

int main(int argc, char** argv) {
  setLoggerFinder(&logs);
  check_creator();
  check_fields_survive();
  check_bad_fields();
  check_types();
  check_shapes();
  check_formats();
  check_configured();
  check_runs();
  if (argc > 1) check_registers_itself(argv[1]);
  std::printf("TensorRT %d.%d, %d failed\n", NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, num_failed.load());
  return num_failed != 0;
}
