// What is asked.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "media.hpp"
#include "options.hpp"

namespace ov {

// One question. What is not set is as on the command line.
struct Request {
    std::optional<std::string> prompt;
    std::vector<Media> images;
    std::vector<Media> video;  // one file, or frames in order
    Options options;
    std::optional<std::string> system;  // not of a chat
};

namespace detail {

inline const char* zero_ended(const std::optional<std::string>& text) { return text ? zero_ended(*text) : nullptr; }

// A request as C has it, for as long as it and the original live.
class RequestView {
public:
    RequestView(const char* prompt, const MediaList& images, const Options& options)
        : RequestView(prompt, images, {}, options, nullptr) {}
    explicit RequestView(const Request& from)
        : RequestView(zero_ended(from.prompt), from.images, from.video, from.options, zero_ended(from.system)) {}
    RequestView(const RequestView&) = delete;
    RequestView& operator=(const RequestView&) = delete;

    const ov_request* get() const { return &request_; }

private:
    RequestView(const char* prompt, const MediaList& images, const MediaList& video, const Options& options,
                const char* system)
        : options_(options.list()) {
        for (const auto& image : images) images_.push_back(image.get());
        for (const auto& part : video) video_.push_back(part.get());
        request_ = {prompt,       system,          images_.data(),  images_.size(),
                    video_.data(), video_.size(), options_.data(), options_.size()};
    }

    std::vector<ov_media> images_, video_;
    std::vector<ov_option> options_;
    ov_request request_{};
};

}  // namespace detail
}  // namespace ov
