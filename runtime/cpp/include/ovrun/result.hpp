// What is answered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../ovrun.h"

namespace ov {

struct Result {
    std::string text;
    std::string finish_reason;  // stop, stop_string, length, interrupted
    std::vector<std::int64_t> token_ids;
    std::int64_t prompt_tokens = 0, reused_tokens = 0, image_tokens = 0, tiles = 0;
    ov_timings_ms timings_ms{};
    std::vector<std::string> warnings;
    std::string json;  // as `ovrun --json` prints it
};

namespace detail {

// Takes the result of C over, and gives it back.
inline Result take(ov_result* from) {
    struct Giver {
        ov_result* result;
        ~Giver() { ov_result_free(result); }
    } const giver{from};
    Result result;
    result.text.assign(from->text, from->num_text_bytes);
    result.finish_reason = from->finish_reason;
    result.token_ids.assign(from->token_ids, from->token_ids + from->num_token_ids);
    result.prompt_tokens = from->prompt_tokens;
    result.reused_tokens = from->reused_tokens;
    result.image_tokens = from->image_tokens;
    result.tiles = from->tiles;
    result.timings_ms = from->timings_ms;
    result.warnings.assign(from->warnings, from->warnings + from->num_warnings);
    result.json = from->json;
    return result;
}

}  // namespace detail
}  // namespace ov
