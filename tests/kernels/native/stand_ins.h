// What TensorRT would bring to a plugin and keeps in libnvinfer, as far as a plugin sees it: dimension expressions, the
// logger, the registry. Written against the public headers alone; no libnvinfer is loaded.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// One dimension: a number, or (negative) one that is only known when the engine runs.
class Dimension : public nvinfer1::IDimensionExpr, nvinfer1::apiv::VDimensionExpr {
 public:
  explicit Dimension(int64_t extent) : extent_(extent) { mImpl = this; }

 private:
  bool isConstant() const override { return extent_ >= 0; }
  int64_t getConstantValue() const override { return extent_; }
  bool isSizeTensor() const override { return false; }

  int64_t extent_;
};

// Keeps all dimensions that were made with it, as TensorRT's builder does.
class Dimensions : public nvinfer1::IExprBuilder, nvinfer1::apiv::VExprBuilder {
 public:
  Dimensions() { mImpl = this; }

  nvinfer1::DimsExprs shape(std::vector<int64_t> const& extents) {
    nvinfer1::DimsExprs made = {};
    made.nbDims = static_cast<int32_t>(extents.size());
    for (size_t i = 0; i < extents.size(); ++i) made.d[i] = keep(extents[i]);
    return made;
  }

 private:
  nvinfer1::IDimensionExpr const* keep(int64_t extent) {
    kept_.push_back(std::make_unique<Dimension>(extent));
    return kept_.back().get();
  }
  nvinfer1::IDimensionExpr const* constant(int64_t value) override { return keep(value); }
  nvinfer1::IDimensionExpr const* operation(nvinfer1::DimensionOperation, nvinfer1::IDimensionExpr const&,
                                            nvinfer1::IDimensionExpr const&) override {
    return keep(-1);
  }
  nvinfer1::IDimensionExpr const* declareSizeTensor(int32_t, nvinfer1::IDimensionExpr const&,
                                                    nvinfer1::IDimensionExpr const&) override {
    return nullptr;
  }

  std::vector<std::unique_ptr<Dimension>> kept_;
};

class Log : public nvinfer1::ILogger {
 public:
  void log(Severity severity, char const* text) noexcept override {
    errors += severity == Severity::kERROR;
    last = text;
  }
  int errors = 0;
  std::string last;
};

class LogFinder : public nvinfer1::ILoggerFinder {
 public:
  nvinfer1::ILogger* findLogger() override { return &log; }
  Log log;
};

class Registry : public nvinfer1::IPluginRegistry {
 public:
  using Creator = nvinfer1::IPluginCreatorInterface;
  using Text = char const* const;

  bool registerCreator(Creator& creator, Text name_space) noexcept override {
    creators.push_back(&creator);
    namespaces.emplace_back(name_space);
    return true;
  }
  std::vector<Creator*> creators;
  std::vector<std::string> namespaces;

  void setErrorRecorder(nvinfer1::IErrorRecorder* const) noexcept override {}
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
  bool isParentSearchEnabled() const override { return false; }
  void setParentSearchEnabled(bool const) override {}
  PluginLibraryHandle loadLibrary(char const*) noexcept override { return nullptr; }
  void deregisterLibrary(PluginLibraryHandle) noexcept override {}
  Creator* const* getAllCreators(int32_t* const) const noexcept override { return nullptr; }
  Creator* getCreator(Text, Text, Text) noexcept override { return nullptr; }
  bool deregisterCreator(Creator const&) noexcept override { return false; }
  nvinfer1::IPluginResource* acquirePluginResource(char const*, nvinfer1::IPluginResource*) noexcept override {
    return nullptr;
  }
  int32_t releasePluginResource(char const*) noexcept override { return 0; }
  virtual Creator* const* getAllCreatorsRecursive(int32_t* const) noexcept { return nullptr; }  // not in 10.3
#if NV_TENSORRT_MAJOR < 11  // of plugins before IPluginV3
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  bool registerCreator(nvinfer1::IPluginCreator&, Text) noexcept override { return false; }
  nvinfer1::IPluginCreator* const* getPluginCreatorList(int32_t* const) const noexcept override { return nullptr; }
  nvinfer1::IPluginCreator* getPluginCreator(Text, Text, Text) noexcept override { return nullptr; }
  bool deregisterCreator(nvinfer1::IPluginCreator const&) noexcept override { return false; }
#endif
};
