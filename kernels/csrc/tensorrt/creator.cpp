// The plugin's creator, and the two functions that IPluginRegistry::loadLibrary looks for in the library.
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

#include "../../include/ovk.h"
#include "plugin.h"

namespace ovk::tensorrt {
namespace {

std::atomic<nvinfer1::ILoggerFinder*> logger_finder{nullptr};

// The value of one field, -1 if it is none that the plugin has.
int32_t parse(nvinfer1::PluginField const& field) {
  if (!field.name || std::strcmp(field.name, kRowsInFlight) != 0) {
    log_error("knows no field '%s', only '%s'", field.name ? field.name : "", kRowsInFlight);
    return -1;
  }
  if (field.type != nvinfer1::PluginFieldType::kINT32 || field.length != 1 || !field.data) {
    log_error("takes one int32 as '%s'", kRowsInFlight);
    return -1;
  }
  int32_t value;
  std::memcpy(&value, field.data, sizeof(value));
  if (value == 0 || value == 1 || value == 2 || value == 4) return value;
  log_error("takes 0, 1, 2 or 4 as '%s', not %d", kRowsInFlight, value);
  return -1;
}

}  // namespace

nvinfer1::IPluginV3* Creator::createPlugin(char const* /*name*/, nvinfer1::PluginFieldCollection const* fields,
                                           nvinfer1::TensorRTPhase /*phase*/) noexcept {
  const int32_t num_fields = fields ? fields->nbFields : 0;
  if (num_fields < 0 || (num_fields > 0 && !fields->fields)) {
    log_error("was given no readable fields");
    return nullptr;
  }
  int32_t rows_in_flight = 0;
  for (int32_t i = 0; i < num_fields; ++i) {
    rows_in_flight = parse(fields->fields[i]);
    if (rows_in_flight < 0) return nullptr;
  }
  return new (std::nothrow) Plugin(rows_in_flight);
}

nvinfer1::PluginFieldCollection const* Creator::getFieldNames() noexcept {
  static const nvinfer1::PluginField field(kRowsInFlight, nullptr, nvinfer1::PluginFieldType::kINT32, 1);
  static const nvinfer1::PluginFieldCollection fields = {1, &field};
  return &fields;
}

Creator& creator() noexcept {
  static Creator instance;
  return instance;
}

void log_error(char const* format, ...) noexcept {
  nvinfer1::ILoggerFinder* finder = logger_finder.load();
  if (!finder) return;
  char text[256];
  const int prefix = std::snprintf(text, sizeof(text), "%s (version %s) ", kName, kVersion);
  std::va_list values;
  va_start(values, format);
  std::vsnprintf(text + prefix, sizeof(text) - prefix, format, values);
  va_end(values);
  try {
    if (nvinfer1::ILogger* logger = finder->findLogger()) logger->log(nvinfer1::ILogger::Severity::kERROR, text);
  } catch (...) {  // findLogger is the application's and may throw; nothing crosses into TensorRT
  }
}

}  // namespace ovk::tensorrt

extern "C" {  // TENSORRTAPI exports nothing outside of NVIDIA's own build

OVK_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { ovk::tensorrt::logger_finder.store(finder); }

OVK_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& num_creators) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&ovk::tensorrt::creator()};
  num_creators = 1;
  return creators;
}

}  // extern "C"
