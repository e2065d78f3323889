#include "objects.h"

#include "calls.h"

#include <memory>
#include <string>
#include <vector>

namespace ovrun {
namespace {

const char* const kFormats[] = {"", "rgb", "bgr", "rgba", "bgra", "grey", "nv12"};  // by ov_format
const char* const kColours[] = {"bt601", "bt709", "bt601-full", "bt709-full"};      // by ov_colour

template <std::size_t Count>
const char* name_in(const char* const (&names)[Count], int32_t number) {
    return number >= 0 && number < static_cast<int32_t>(Count) ? names[number] : "";
}

py::object frame_tuple(const ov_frame& frame) {
    py::list planes;
    for (int i = 0; i < (frame.format == OV_NV12 ? 2 : 1); ++i) {
        planes.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(frame.planes[i]), frame.stride_bytes[i]));
    }
    return py::make_tuple(
        name_in(kFormats, frame.format), frame.width_px, frame.height_px, planes, name_in(kColours, frame.colour));
}

struct OwnedResult : ov_result {
    std::string held_text, held_reason, held_json;
    std::vector<int64_t> held_ids;
    std::vector<std::string> held_warnings;
    std::vector<const char*> held_pointers;
};

void point(OwnedResult& held) {
    for (const auto& warning : held.held_warnings) held.held_pointers.push_back(warning.c_str());
    held.text = held.held_text.c_str();
    held.num_text_bytes = held.held_text.size();
    held.finish_reason = held.held_reason.c_str();
    held.token_ids = held.held_ids.data();
    held.num_token_ids = held.held_ids.size();
    held.warnings = held.held_pointers.data();
    held.num_warnings = held.held_pointers.size();
    held.json = held.held_json.c_str();
}

ov_timings_ms timings(const py::dict& spent) {
    const auto stage = [&](const char* name) { return spent[name].cast<double>(); };
    return {stage("load"),    stage("decode_image"), stage("tile"),        stage("encode"),
            stage("project"), stage("prefill"),      stage("first_token"), stage("per_token")};
}

}  // namespace

py::object text_or_none(const char* text) { return text ? py::object(py::bytes(text)) : py::none(); }

py::list options_list(const ov_option* options, size_t num_options) {
    py::list list;
    for (size_t i = 0; i < num_options; ++i) {
        list.append(py::make_tuple(py::bytes(options[i].name), text_or_none(options[i].value)));
    }
    return list;
}

py::list media_list(const ov_media* media, size_t num_media) {
    py::list list;
    for (size_t i = 0; i < num_media; ++i) {
        switch (media[i].kind) {
            case OV_FILE: list.append(py::bytes(media[i].path)); break;
            case OV_BYTES:
                list.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(media[i].bytes), media[i].num_bytes));
                break;
            default: list.append(frame_tuple(media[i].frame));
        }
    }
    return list;
}

ov_result* make_result(const py::object& result) {
    auto held = std::make_unique<OwnedResult>();
    held->held_text = utf8(result.attr("text"));
    held->held_reason = utf8(result.attr("finish_reason"));
    held->held_json = utf8(result.attr("to_json")());
    for (const auto id : result.attr("token_ids")) held->held_ids.push_back(id.cast<int64_t>());
    for (const auto text : result.attr("warnings")) held->held_warnings.push_back(utf8(text));
    held->prompt_tokens = result.attr("prompt_tokens").cast<int64_t>();
    held->reused_tokens = result.attr("reused_tokens").cast<int64_t>();
    held->image_tokens = result.attr("image_tokens").cast<int64_t>();
    held->tiles = result.attr("tiles").cast<int64_t>();
    held->timings_ms = timings(result.attr("timings_ms"));
    point(*held);
    return held.release();
}

void free_result(ov_result* result) { delete static_cast<OwnedResult*>(result); }

}  // namespace ovrun
