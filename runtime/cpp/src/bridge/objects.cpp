#include "objects.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "calls.h"
#include "nv12.h"

namespace ovrun {
namespace {

const char* const kFormats[] = {"", "rgb", "bgr", "rgba", "bgra", "grey", "nv12"};  // by ov_format
const char* const kColours[] = {"bt601", "bt709", "bt601-full", "bt709-full"};      // by ov_colour

// An unknown one as it was given, for the message.
template <std::size_t Count>
std::string name_in(const char* const (&names)[Count], int32_t number) {
    const bool known = number >= 0 && number < static_cast<int32_t>(Count) && names[number][0];
    return known ? names[number] : std::to_string(number);
}

// Bytes of RGBX for a frame that Python has checked, when it looks at it: of a long video it may look at few.
py::object converter(const ov_frame& frame) {
    if (frame.format != OV_NV12) return py::none();
    return py::cpp_function([frame](const std::vector<float>& factors) {
        Matrix matrix{};
        std::copy_n(factors.begin(), std::min(factors.size(), matrix.size()), matrix.begin());
        const auto num_bytes = Py_ssize_t{4} * frame.width_px * frame.height_px;
        const auto pixels = py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, num_bytes));
        if (!pixels) throw py::error_already_set();
        auto* const out = reinterpret_cast<std::uint32_t*>(PyBytes_AsString(pixels.ptr()));
        {
            const py::gil_scoped_release release;
            rgbx_of_nv12(frame, matrix, out);
        }
        return pixels;
    });
}

py::tuple frame_tuple(const ov_frame& frame) {
    const bool is_nv12 = frame.format == OV_NV12;
    py::list planes;
    for (int i = 0; i < (is_nv12 ? 2 : 1); ++i) {
        planes.append(py::make_tuple(reinterpret_cast<std::uintptr_t>(frame.planes[i]), frame.stride_bytes[i]));
    }
    return py::make_tuple(
        name_in(kFormats, frame.format), frame.width_px, frame.height_px, planes,
        name_in(kColours, is_nv12 ? frame.colour : OV_BT601), converter(frame));
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
