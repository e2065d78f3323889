/* Everything that can be wrong with a call, from C: a status and a message each time, and the next call works.
 *
 *     refusals BUNDLE IMAGE */
#include <ovrun.h>
#include <string.h>

#include "check.h"

#define WRONG(status, words, call)                                                             \
    do {                                                                                       \
        const ov_status got = (call);                                                          \
        if (got != (status) || !strstr(ov_last_error(), words)) {                              \
            fprintf(stderr, "%s:%d: %d %s (%s)\n", __FILE__, __LINE__, (int)got, ov_last_error(), ov_last_hint()); \
            exit(1);                                                                           \
        }                                                                                      \
    } while (0)

static ov_session* session;

static ov_status ask(ov_media image) {
    ov_request request;
    ov_result* result = NULL;
    ov_status status;
    memset(&request, 0, sizeof request);
    request.images = &image;
    request.num_images = 1;
    status = ov_generate(session, &request, NULL, NULL, &result);
    CHECK((status == OV_OK) == (result != NULL));
    ov_result_free(result);
    return status;
}

static ov_status ask_file(const char* path) {
    ov_media image;
    memset(&image, 0, sizeof image);
    image.kind = OV_FILE;
    image.path = path;
    return ask(image);
}

static ov_status ask_bytes(const void* bytes, size_t num_bytes) {
    ov_media image;
    memset(&image, 0, sizeof image);
    image.kind = OV_BYTES;
    image.bytes = bytes;
    image.num_bytes = num_bytes;
    return ask(image);
}

static unsigned char pixels[64 * 64 * 4];

static int32_t colour;

static ov_status ask_frame(int32_t format, int32_t width_px, int32_t height_px, int64_t stride, const void* first) {
    ov_media image;
    memset(&image, 0, sizeof image);
    image.kind = OV_FRAME;
    image.frame.format = format;
    image.frame.colour = colour;
    image.frame.width_px = width_px;
    image.frame.height_px = height_px;
    image.frame.planes[0] = first;
    image.frame.planes[1] = format == OV_NV12 && colour ? first : NULL;
    image.frame.stride_bytes[0] = stride;
    return ask(image);
}

static ov_status ask_with(const char* name, const char* value) {
    ov_option option;
    ov_request request;
    ov_result* result = NULL;
    ov_status status;
    option.name = name;
    option.value = value;
    memset(&request, 0, sizeof request);
    request.prompt = "What is shown?";
    request.options = &option;
    request.num_options = 1;
    status = ov_generate(session, &request, NULL, NULL, &result);
    ov_result_free(result);
    return status;
}

static void wrong_opening(const char* bundle) {
    ov_option device = {"device", "abacus"}, unknown = {"colour", "red"};
    ov_session* other = (ov_session*)&other;
    WRONG(OV_USAGE, "session is null", ov_session_open(bundle, NULL, 0, NULL));
    WRONG(OV_BUNDLE_INVALID, "no/such/bundle", ov_session_open("no/such/bundle", NULL, 0, &other));
    CHECK(other == NULL);
    WRONG(OV_USAGE, "abacus", ov_session_open(bundle, &device, 1, &other));
    WRONG(OV_USAGE, "--colour", ov_session_open(bundle, &unknown, 1, &other));
    WRONG(OV_USAGE, "options is null", ov_session_open(bundle, NULL, 3, &other));
    unknown.name = NULL;
    WRONG(OV_USAGE, "options[0].name is null", ov_session_open(bundle, &unknown, 1, &other));
}

static void wrong_media(const char* image) {
    ov_media nothing;
    memset(&nothing, 0, sizeof nothing);
    WRONG(OV_USAGE, "images[0].kind is 0", ask(nothing));
    WRONG(OV_USAGE, "images[0].path is null", ask_file(NULL));
    WRONG(OV_BAD_INPUT, "does not exist", ask_file("no such file.png"));
    WRONG(OV_BAD_INPUT, "directory", ask_file("/"));
    WRONG(OV_BAD_INPUT, "does not exist", ask_file("\xff\xfe not utf-8.png"));
    WRONG(OV_USAGE, "images[0].bytes is null", ask_bytes(NULL, 5));
    WRONG(OV_BAD_INPUT, "not an image", ask_bytes("hello", 5));
    WRONG(OV_BAD_INPUT, "empty", ask_bytes("hello", 0));
    CHECK(ask_file(image) == OV_OK);
}

static void wrong_frames(void) {
    WRONG(OV_BAD_INPUT, "null pointer", ask_frame(OV_RGB, 8, 8, 0, NULL));
    WRONG(OV_BAD_INPUT, "null pointer", ask_frame(OV_NV12, 8, 8, 0, pixels)); /* its second plane */
    WRONG(OV_BAD_INPUT, "no pixels", ask_frame(OV_RGB, 0, 8, 0, pixels));
    WRONG(OV_BAD_INPUT, "no pixels", ask_frame(OV_RGB, 8, -8, 0, pixels));
    WRONG(OV_USAGE, "no frames are in '0'", ask_frame(0, 8, 8, 0, pixels));
    WRONG(OV_USAGE, "no frames are in '99'", ask_frame(99, 8, 8, 0, pixels));
    WRONG(OV_USAGE, "no frames are in '-2147483648'", ask_frame(INT32_MIN, 8, 8, 0, pixels));
    WRONG(OV_BAD_INPUT, "stride of 23 bytes", ask_frame(OV_RGB, 8, 8, 23, pixels));
    WRONG(OV_BAD_INPUT, "stride of -1 bytes", ask_frame(OV_RGB, 8, 8, -1, pixels));
    WRONG(OV_BAD_INPUT, "out of memory", ask_frame(OV_RGB, 8, 8, INT64_MAX, pixels));
    WRONG(OV_BAD_INPUT, "out of memory", ask_frame(OV_RGB, 8, 8, INT64_MIN, pixels));
    WRONG(OV_LIMIT_EXCEEDED, "image_pixels", ask_frame(OV_RGB, INT32_MAX, INT32_MAX, 0, pixels));
    WRONG(OV_LIMIT_EXCEEDED, "image_aspect", ask_frame(OV_RGB, 5000, 1, 0, pixels));
    WRONG(OV_BAD_INPUT, "out of memory", ask_frame(OV_NV12, 8, 8, INT64_MAX, pixels));
    CHECK(ask_frame(OV_RGB, 64, 1, INT64_MIN, pixels) == OV_OK); /* a single row has no next one */
    CHECK(ask_frame(OV_GREY, 64, 1, 1, pixels) == OV_OK);
    CHECK(ask_frame(OV_RGB, 64, 64, 0, pixels) == OV_OK);
}

static void wrong_colours(void) {
    colour = 9; /* looked at for NV12 only */
    CHECK(ask_frame(OV_RGB, 64, 64, 0, pixels) == OV_OK);
    WRONG(OV_USAGE, "no frames are in 'nv12', '9'", ask_frame(OV_NV12, 64, 64, 0, pixels));
    colour = OV_BT709;
    CHECK(ask_frame(OV_NV12, 64, 64, 0, pixels) == OV_OK);
    colour = 0;
}

static void wrong_options(void) {
    WRONG(OV_USAGE, "invalid int value", ask_with("max-new-tokens", "many"));
    WRONG(OV_USAGE, "max_new_tokens is 0", ask_with("max-new-tokens", "0"));
    WRONG(OV_USAGE, "temperature is -1", ask_with("temperature", "-1"));
    WRONG(OV_USAGE, "--colour", ask_with("colour", "red"));
    WRONG(OV_USAGE, "anyres-multi is on or off", ask_with("anyres-multi", "perhaps"));
    WRONG(OV_BAD_INPUT, "not UTF-8", ask_with("stop", "\xff"));
    WRONG(OV_USAGE, "expected one argument", ask_with("seed", NULL));
    CHECK(strstr(ov_last_hint(), "--help"));
    CHECK(ask_with("--max_new_tokens", "2") == OV_OK); /* all spellings of the command line and of Python */
    CHECK(ask_with("anyres-multi", NULL) == OV_OK && ask_with("anyres-multi", "false") == OV_OK);
}

static void wrong_requests(void) {
    ov_request request;
    ov_result* result = (ov_result*)&request;
    memset(&request, 0, sizeof request);
    WRONG(OV_USAGE, "request is null", ov_generate(session, NULL, NULL, NULL, &result));
    CHECK(result == NULL);
    WRONG(OV_USAGE, "result is null", ov_generate(session, &request, NULL, NULL, NULL));
    request.num_images = 2;
    WRONG(OV_USAGE, "images is null", ov_generate(session, &request, NULL, NULL, &result));
    request.num_images = 0;
    request.num_video = SIZE_MAX;
    WRONG(OV_USAGE, "video is null", ov_generate(session, &request, NULL, NULL, &result));
    request.video = (const ov_media*)pixels;
    WRONG(OV_USAGE, "video", ov_generate(session, &request, NULL, NULL, &result));
    request.num_video = 0;
    request.prompt = "\xc3";
    WRONG(OV_BAD_INPUT, "prompt is not UTF-8", ov_generate(session, &request, NULL, NULL, &result));
    request.prompt = "one <image> too many";
    WRONG(OV_BAD_INPUT, "image", ov_generate(session, &request, NULL, NULL, &result));
}

static void wrong_handles(const char* bundle) {
    ov_session* closed = NULL;
    ov_chat *chat = NULL, *orphan = NULL;
    ov_watch* watch = NULL;
    ov_media frame;
    ov_request request;
    ov_result* result = NULL;
    int here = 0;
    memset(&request, 0, sizeof request);
    WRONG(OV_USAGE, "session is closed", ov_generate(NULL, &request, NULL, NULL, &result));
    WRONG(OV_USAGE, "session is closed", ov_generate((ov_session*)&here, &request, NULL, NULL, &result));
    WRONG(OV_USAGE, "session is closed", ov_session_close(NULL));
    WRONG(OV_USAGE, "session is closed", ov_cancel((ov_session*)&here));
    CHECK(ov_session_open(bundle, NULL, 0, &closed) == OV_OK);
    CHECK(ov_chat_open(closed, NULL, NULL, 0, &orphan) == OV_OK);
    CHECK(ov_session_close(closed) == OV_OK);
    WRONG(OV_USAGE, "session is closed", ov_session_close(closed));
    WRONG(OV_USAGE, "session is closed", ov_generate(closed, &request, NULL, NULL, &result));
    WRONG(OV_USAGE, "session is closed", ov_chat_open(closed, NULL, NULL, 0, &chat));
    WRONG(OV_USAGE, "chat is closed", ov_chat_ask(orphan, &request, NULL, NULL, &result));
    WRONG(OV_USAGE, "chat is closed", ov_chat_close(orphan));
    WRONG(OV_USAGE, "chat is closed", ov_chat_ask((ov_chat*)session, &request, NULL, NULL, &result));
    WRONG(OV_USAGE, "watch is closed", ov_watch_close((ov_watch*)session));
    WRONG(OV_USAGE, "window is 0", ov_watch_open(session, "x", 0, 1, NULL, 0, &watch));
    WRONG(OV_USAGE, "every is -3", ov_watch_open(session, "x", 1, -3, NULL, 0, &watch));
    CHECK(ov_watch_open(session, "x", 1, 1, NULL, 0, &watch) == OV_OK);
    WRONG(OV_USAGE, "frame is null", ov_watch_push(watch, NULL, NULL, NULL, &result));
    memset(&frame, 0, sizeof frame);
    WRONG(OV_USAGE, "frame.kind is 0", ov_watch_push(watch, &frame, NULL, NULL, &result));
    CHECK(strstr(ov_last_error(), "images") == NULL);
    CHECK(ov_watch_close(watch) == OV_OK);
    CHECK(ov_chat_open(session, NULL, NULL, 0, &chat) == OV_OK);
    request.system = "";
    WRONG(OV_USAGE, "system turn", ov_chat_ask(chat, &request, NULL, NULL, &result));
    WRONG(OV_USAGE, "result was given back", ov_result_free((ov_result*)&here));
    CHECK(ov_result_free(NULL) == OV_OK);
}

int main(int argc, char** argv) {
    CHECK(argc == 3);
    CHECK(ov_abi_version() == OV_ABI_VERSION && strcmp(ov_last_error(), "") == 0);
    CHECK(strcmp(ov_status_text(OV_BAD_INPUT), "bad input") == 0 &&
          strcmp(ov_status_text(OV_PARITY_FAILED), "parity failed") == 0 && strlen(ov_status_text(-7)) > 0);
    wrong_opening(argv[1]);
    CHECK(ov_session_open(argv[1], NULL, 0, &session) == OV_OK);
    wrong_requests();
    wrong_media(argv[2]);
    wrong_frames();
    wrong_colours();
    wrong_options();
    wrong_handles(argv[1]);
    CHECK(ask_file(argv[2]) == OV_OK);
    CHECK(ov_stop() == OV_OK);
    WRONG(OV_USAGE, "session is closed", ask_file(argv[2]));
    return 0;
}
