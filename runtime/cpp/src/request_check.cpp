#include "request_check.h"

#include <string>

#include "last_error.h"

namespace ovrun {
namespace {

constexpr size_t kMost = 1 << 20;  // of a list: more is a size that was never set

ov_status check_list(const void* items, size_t count, const std::string& name) {
    if (count > 0 && items == nullptr) return missing(name.c_str());
    if (count <= kMost) return OV_OK;
    return fail(OV_USAGE, "there are " + std::to_string(count) + " " + name, "set all members of the request");
}

ov_status check_all_media(const ov_media* items, size_t count, const std::string& name) {
    if (const ov_status status = check_list(items, count, name)) return status;
    for (size_t i = 0; i < count; ++i) {
        if (const ov_status status = check_media(items[i], name + "[" + std::to_string(i) + "]")) return status;
    }
    return OV_OK;
}

}  // namespace

ov_status missing(const char* argument) {
    return fail(OV_USAGE, std::string(argument) + " is null", "give its address");
}

ov_status check_media(const ov_media& media, const std::string& name) {
    if (media.kind == OV_FILE && media.path == nullptr) return missing((name + ".path").c_str());
    if (media.kind == OV_BYTES && media.bytes == nullptr) return missing((name + ".bytes").c_str());
    if (media.kind >= OV_FILE && media.kind <= OV_FRAME) return OV_OK;
    return fail(OV_USAGE, name + ".kind is " + std::to_string(media.kind), "give OV_FILE, OV_BYTES or OV_FRAME");
}

ov_status check_options(const ov_option* options, size_t num_options) {
    if (const ov_status status = check_list(options, num_options, "options")) return status;
    for (size_t i = 0; i < num_options; ++i) {
        if (options[i].name == nullptr) return missing(("options[" + std::to_string(i) + "].name").c_str());
    }
    return OV_OK;
}

ov_status check_request(const ov_request* request) {
    if (request == nullptr) return missing("request");
    if (const ov_status status = check_all_media(request->images, request->num_images, "images")) return status;
    if (const ov_status status = check_all_media(request->video, request->num_video, "video")) return status;
    return check_options(request->options, request->num_options);
}

}  // namespace ovrun
