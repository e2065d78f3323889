// ovrun.hpp: every kind of text and list where one is asked for, and what its objects hold.
//
//     wrapper BUNDLE IMAGE
#include <array>
#include <cstddef>
#include <fstream>
#include <iterator>
#include <ovrun.hpp>

#include "check.h"

namespace {

template <class Work>
std::string message_of(Work work, ov_status status) {
    try {
        work();
    } catch (const ov::Error& error) {
        CHECK(error.code() == status);
        return error.what();
    }
    return "";
}

void texts_of_all_kinds(const std::string& bundle, const std::string& image, const ov::Result& whole) {
    const std::string_view prompt = "Describe this image.", cap = "max-new-tokens", two = "2", folder = bundle;
    auto session = ov::Session::open(folder, ov::Options().set(std::string_view("threads"), std::string_view("1")));
    const auto options = ov::Options().set(cap, two);
    CHECK(session.generate(prompt, {ov::file(std::string_view(image))}).text == whole.text);
    CHECK(session.generate(std::string(prompt), {image}, options).token_ids.size() == 2);
    CHECK(session.generate(prompt, {std::filesystem::path(image)}, options).token_ids.size() == 2);
    auto chat = session.chat(options, std::string_view("You are brief."));
    CHECK(chat.ask(prompt, {std::string_view(image)}).token_ids.size() == 2);
    auto watch = session.watch(prompt, 1, 1, options);
    CHECK(watch.push(image)->token_ids.size() == 2);
    CHECK(ov::Session::open(std::filesystem::path(bundle)).generate(prompt, {image}).text == whole.text);
}

void lists_of_all_kinds(ov::Session& session, const std::string& image, const ov::Result& whole) {
    std::ifstream file(image, std::ios::binary);
    const std::vector<char> chars{std::istreambuf_iterator<char>(file), {}};
    std::vector<std::byte> bytes;
    for (const char c : chars) bytes.push_back(static_cast<std::byte>(c));
    const std::vector<ov::Media> images{ov::bytes(bytes)};
    const std::array<ov::Media, 1> array{ov::bytes(std::string_view(chars.data(), chars.size()))};
    const char* prompt = "Describe this image.";
    CHECK(session.generate(prompt, images).text == whole.text);
    CHECK(session.generate(prompt, ov::span<const ov::Media>(images.data(), 1)).text == whole.text);
    CHECK(session.generate(prompt, array).text == whole.text);
    CHECK(session.generate(prompt, {ov::bytes(ov::span<const std::byte>(bytes))}).text == whole.text);
    CHECK(!session.generate(prompt, {}).text.empty());
}

void chats_call_back(ov::Session& session, const std::string& image) {
    auto chat = session.chat();
    std::string said;
    const auto result = chat.ask("What is this?", {image}, [&](std::string_view piece) { said += piece; });
    CHECK(said == result.text && !said.empty());
    CHECK(chat.ask("And now?", {}, [](std::string_view) { return false; }).finish_reason == "interrupted");
}

void zero_bytes_are_refused(ov::Session& session) {
    const std::string cut("a\0b", 3);
    const auto refused = [](auto work) { CHECK(message_of(work, OV_BAD_INPUT) == "the text has a zero byte at 1"); };
    refused([&] { session.generate(cut, {}); });
    refused([&] { session.generate("x", {cut}); });
    refused([&] { session.watch(cut); });
    refused([&] { session.chat({}, cut); });
    refused([&] { ov::Options().set("stop", cut); });
    refused([&] { ov::Session::open(cut); });
    ov::Request request;
    request.prompt = cut;
    refused([&] { session.generate(request); });
}

void values_of_options() {
    const auto options = ov::Options().set("stop", '\n').set("on", true).set("n", 7).set("x", 0.5).set("bare");
    const auto list = options.list();
    const char* const values[] = {"\n", "true", "7", "0.5"};
    for (int i = 0; i < 4; ++i) CHECK(std::string(list[i].value) == values[i]);
    CHECK(list[4].value == nullptr);
}

void a_move_leaves_nothing(const std::string& bundle) {
    auto left = ov::Session::open(bundle), right = ov::Session::open(bundle);
    left = std::move(right);
    CHECK(!message_of([&] { right.generate("x", {}); }, OV_USAGE).empty());
    CHECK(!left.generate("What is shown?", {}).json.empty());
}

}  // namespace

int main(int argc, char** argv) {
    CHECK(argc == 3);
    auto session = ov::Session::open(argv[1]);
    const auto whole = session.generate("Describe this image.", {argv[2]});
    texts_of_all_kinds(argv[1], argv[2], whole);
    lists_of_all_kinds(session, argv[2], whole);
    chats_call_back(session, argv[2]);
    zero_bytes_are_refused(session);
    values_of_options();
    a_move_leaves_nothing(argv[1]);
    return 0;
}
