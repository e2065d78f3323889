// The functions of the bridge: each calls one of ovrun.embedding.
#include "calls.h"
#include "objects.h"
#include "table.h"

namespace ovrun {
namespace {

py::handle object_of(void* target) { return {static_cast<PyObject*>(target)}; }

ov_status open_session(
    const Listener* listener, const char* bundle, const ov_option* options, size_t num_options, void** target) {
    return guarded(listener, [&] {
        const auto list = options_list(options, num_options);
        *target = runtime().attr("open_bundle")(text_or_none(bundle), list).release().ptr();
    });
}

ov_status open_chat(
    const Listener* listener, void* session, const char* system, const ov_option* options, size_t num_options,
    void** target) {
    return guarded(listener, [&] {
        const auto list = options_list(options, num_options);
        *target = runtime().attr("open_chat")(object_of(session), text_or_none(system), list).release().ptr();
    });
}

ov_status open_watch(
    const Listener* listener, void* session, const char* prompt, int32_t window, int32_t every,
    const ov_option* options, size_t num_options, void** target) {
    return guarded(listener, [&] {
        const auto list = options_list(options, num_options);
        const auto watch = runtime().attr("open_watch");
        *target = watch(object_of(session), text_or_none(prompt), window, every, list).release().ptr();
    });
}

py::object begin(const Listener* listener, void* target, const ov_request& request) {
    const auto wants_more = py::cpp_function([listener] {
        const py::gil_scoped_release release;
        return listener->wants_more(listener->self);
    });
    const auto images = media_list(request.images, request.num_images);
    const auto video = media_list(request.video, request.num_video);
    return runtime().attr("Answer")(
        object_of(target), text_or_none(request.prompt), text_or_none(request.system), images,
        request.num_video ? py::object(video) : py::none(), options_list(request.options, request.num_options),
        wants_more);
}

// Reads the answer piece by piece, so that no callback is called from within Python.
ov_status answer(const Listener* listener, void* target, const ov_request* request, ov_result** result) {
    return guarded(listener, [&] {
        const py::object making = begin(listener, target, *request);
        const py::object next_piece = making.attr("piece");
        for (bool more = true; more;) {
            const py::object piece = next_piece();
            if (piece.is_none()) break;
            const auto text = utf8(piece);
            const py::gil_scoped_release release;
            more = listener->say(listener->self, text.data(), text.size());
        }
        const py::object said = making.attr("result")();
        *result = said.is_none() ? nullptr : make_result(said);
    });
}

void close(void* target) {
    guarded(nullptr, [&] {
        const auto object = py::reinterpret_steal<py::object>(static_cast<PyObject*>(target));
        runtime().attr("close")(object);
    });
}

ov_status set_log(const Listener* listener, void (*tell)(int32_t level, const char* line), int32_t verbosity) {
    return guarded(listener, [&] {
        if (tell == nullptr) {
            runtime().attr("log_to")(py::none(), 0);
            return;
        }
        const auto tell_line = py::cpp_function([tell](int32_t level, const py::str& text) {
            const std::string line = utf8(text);
            const py::gil_scoped_release release;
            tell(level, line.c_str());
        });
        runtime().attr("log_to")(tell_line, verbosity);
    });
}

void collect() {
    guarded(nullptr, [] { runtime().attr("collect")(); });
}

}  // namespace

const Bridge& table() {
    static const Bridge functions{open_session, open_chat, open_watch,  answer,
                                  close,        free_result, set_log, collect};
    return functions;
}

}  // namespace ovrun
