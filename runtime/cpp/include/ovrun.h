/* ovrun in C: answers questions about images, frames and video with a bundle made by `ovexport build`.
 *
 * Behind it runs Python, in this process; nothing of it shows. Rules that hold for every function:
 * - It returns a status; 0 is OV_OK. What went wrong is in ov_last_error() and ov_last_hint(), for the calling thread.
 *   Nothing is thrown through it and nothing exits.
 * - It may be called from any thread. A session answers one question at a time: others wait for their turn.
 * - Text is UTF-8 and ends with a zero byte. What is handed in is read before the call returns, and not after; so
 *   pixels are never copied to be kept.
 * - Handles are numbers, not addresses: one that is closed, null or of another kind is OV_USAGE, never a crash.
 * - When the process ends, or the Python of a host that is Python, answers are cancelled and waited for, ten seconds at
 *   most. From then on calls are OV_USAGE; what closes and frees goes on to be OV_OK.
 * - After fork() the child must not call anything here but ov_abi_version and ov_version: OV_USAGE. Use exec.
 * C++ programs include ovrun.hpp instead. The whole story: docs/cpp.md. */
#ifndef OVRUN_H
#define OVRUN_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define OV_API
#else
#define OV_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Changes with any signature, struct or number below. Compare it with ov_abi_version() before any other call. */
#define OV_ABI_VERSION 2u

/* The exit codes of the command line, and one more. */
typedef int32_t ov_status;
enum {
    OV_OK = 0,
    OV_UNEXPECTED = 1,
    OV_USAGE = 2,              /* arguments that make no sense, closed handles */
    OV_BAD_INPUT = 3,          /* images, frames, video, text */
    OV_LIMIT_EXCEEDED = 4,     /* the message names the limit, the hint how to raise it */
    OV_BUNDLE_INVALID = 5,
    OV_MISSING_DEPENDENCY = 6, /* no Python, no package, no device */
    OV_OUT_OF_MEMORY = 7,
    OV_PARITY_FAILED = 8,
    OV_INTERRUPTED = 130,
    OV_BUSY = 200              /* called from within a callback for which the session waits */
};

typedef struct ov_session ov_session; /* an opened bundle: the model in memory */
typedef struct ov_chat ov_chat;       /* a conversation that keeps what it has read */
typedef struct ov_watch ov_watch;     /* a standing question about a stream of frames */

/* An option under its name on the command line, without the dashes: {"max-new-tokens", "32"}. Switches take "true",
 * "false", or NULL for true. "stop" may be given several times. */
typedef struct ov_option {
    const char* name;
    const char* value;
} ov_option;

typedef enum ov_format {
    OV_RGB = 1, /* three bytes a pixel */
    OV_BGR = 2, /* as OpenCV has it */
    OV_RGBA = 3,
    OV_BGRA = 4, /* alpha is dropped, not composited */
    OV_GREY = 5,
    OV_NV12 = 6 /* planes: luma; interleaved Cb Cr, half as wide and high, rounded up */
} ov_format;

/* What the numbers of NV12 mean. Cameras are mostly BT601; H.264 in HD mostly BT709; JPEG is BT601_FULL. */
typedef enum ov_colour { OV_BT601 = 0, OV_BT709 = 1, OV_BT601_FULL = 2, OV_BT709_FULL = 3 } ov_colour;

/* Pixels in memory of the application. */
typedef struct ov_frame {
    int32_t format; /* ov_format */
    int32_t colour; /* ov_colour; only NV12 looks at it */
    int32_t width_px;
    int32_t height_px;
    const void* planes[2];   /* address of the uppermost row */
    int64_t stride_bytes[2]; /* from a row to the next; 0: no gap; below zero: rows go upwards in memory */
} ov_frame;

typedef enum ov_media_kind { OV_FILE = 1, OV_BYTES = 2, OV_FRAME = 3 } ov_media_kind;

/* An image: a file (path), the bytes of a file, or pixels. Only the members of its kind are looked at. */
typedef struct ov_media {
    int32_t kind; /* ov_media_kind */
    const char* path;
    const void* bytes;
    size_t num_bytes;
    ov_frame frame;
} ov_media;

/* One question. All zeros is "Describe this image." without an image; set what is needed. */
typedef struct ov_request {
    const char* prompt; /* NULL: the default; <image> and <video> in it are the places of the media */
    const char* system; /* NULL: the system turn of training; "": none; of a chat always NULL */
    const ov_media* images;
    size_t num_images;
    const ov_media* video; /* one file or bytes of a video; else its frames in order */
    size_t num_video;
    const ov_option* options; /* of the groups "seeing" and "decoding" of `ovrun --help` */
    size_t num_options;
} ov_request;

/* Milliseconds of one answer by stage. first_token is from the call on, per_token the mean of the others. */
typedef struct ov_timings_ms {
    double load, decode_image, tile, encode, project, prefill, first_token, per_token;
} ov_timings_ms;

/* An answer; what `ovrun --json` prints. Belongs to the caller, who gives it back with ov_result_free. Independent of
 * its session, and never written to: any number of threads may read it. */
typedef struct ov_result {
    const char* text;
    size_t num_text_bytes;
    const char* finish_reason; /* stop, stop_string, length, interrupted */
    const int64_t* token_ids;
    size_t num_token_ids;
    int64_t prompt_tokens; /* visual tokens included */
    int64_t reused_tokens; /* of the prompt, kept from a turn before */
    int64_t image_tokens;
    int64_t tiles;
    ov_timings_ms timings_ms;
    const char* const* warnings;
    size_t num_warnings;
    const char* json; /* all of it, as one line */
} ov_result;

/* A piece of text that has become certain, not ended by a zero byte; 0 goes on, anything else stops the answer, whose
 * finish_reason is then "interrupted". Called by the thread that asks, with no GIL held. It may use other sessions,
 * unless their answer waits for this one (OV_BUSY), and it may end its thread (pthread_exit, pthread_cancel). */
typedef int32_t (*ov_text_callback)(const char* piece, size_t num_bytes, void* user);

/* A line of the log: level -1 error, 0 warning, 1 what is being done, 2 everything. Called by any thread, by several at
 * once. It must not wait for an answer, nor end its thread; what it throws is dropped. */
typedef void (*ov_log_callback)(int32_t level, const char* message, void* user);

/* --- Without a session -------------------------------------------------------------------------------------------- */

OV_API uint32_t ov_abi_version(void);
OV_API const char* ov_version(void); /* of the library, such as "0.1.0" */
OV_API const char* ov_status_text(ov_status status);

/* Of the last call of this thread that did not return OV_OK; "" if there was none. Valid until another one fails. */
OV_API const char* ov_last_error(void);
OV_API const char* ov_last_hint(void);

/* Starts Python, or finds the one that runs, and loads the runtime; takes about as long as `import ovrun`. Calls that
 * need it do so by themselves; call it to choose when, and to learn early what is missing. Calling it again is cheap. */
OV_API ov_status ov_start(void);

/* Ends what is running, closes all sessions, chats and watches and gives back their memory and threads. Python stays
 * (it can be started once in a process), so a later call starts anew at no cost. OV_BUSY from within a callback. */
OV_API ov_status ov_stop(void);

/* Hands the log to `callback` up to `verbosity` (-1 to 2); NULL ends that. Starts Python. When this or ov_stop has
 * returned, the callback before is not running any more, so that its `user` may be freed; but not where it is called
 * from within a callback of the log, which it can't wait for. */
OV_API ov_status ov_set_log(ov_log_callback callback, int32_t verbosity, void* user);

/* --- Sessions ----------------------------------------------------------------------------------------------------- */

/* Opens the bundle in the folder `bundle`, or of that name in $OV_HOME/bundles; NULL: the newest there. Options: device,
 * threads, feature-cache. */
OV_API ov_status ov_session_open(const char* bundle, const ov_option* options, size_t num_options, ov_session** session);

/* Answers a question. `callback` (may be NULL) gets the text as it comes; `*result` is set for OV_OK, else NULL. */
OV_API ov_status ov_generate(
    ov_session* session, const ov_request* request, ov_text_callback callback, void* user, ov_result** result);

/* Ends the answer that the session, its chats and watches are at, from any thread: it returns soon after, with OV_OK
 * and the finish_reason "interrupted". Nothing happens where nothing runs. */
OV_API ov_status ov_cancel(ov_session* session);

/* Cancels, waits, and frees the model; its chats and watches are closed with it. From within its callback, or one that
 * its answer waits for, it does not wait: the handle is closed now, the model freed when that answer has returned. The
 * same holds for ov_chat_close and ov_watch_close, which cancel no answers but their own. */
OV_API ov_status ov_session_close(ov_session* session);

OV_API ov_status ov_result_free(ov_result* result);

/* --- Conversations ------------------------------------------------------------------------------------------------ */

/* `system` as in ov_request; options are those of every turn, which may give others for itself. */
OV_API ov_status ov_chat_open(
    ov_session* session, const char* system, const ov_option* options, size_t num_options, ov_chat** chat);

/* The next turn, with its own media; earlier ones are remembered. After an error the history is as it was before; an
 * answer that was stopped stays in it as far as it got. */
OV_API ov_status ov_chat_ask(
    ov_chat* chat, const ov_request* request, ov_text_callback callback, void* user, ov_result** result);

OV_API ov_status ov_chat_close(ov_chat* chat);

/* --- Live video --------------------------------------------------------------------------------------------------- */

/* A question about the last `window` frames, answered after each `every` frames. Each frame is encoded once. Options are
 * those of the group "decoding". */
OV_API ov_status ov_watch_open(
    ov_session* session, const char* prompt, int32_t window, int32_t every, const ov_option* options,
    size_t num_options, ov_watch** watch);

/* The next frame. `*result` is the answer where one is due, else NULL. Returns when it is said: push from a thread of
 * its own, and drop what comes in the meantime. */
OV_API ov_status ov_watch_push(
    ov_watch* watch, const ov_media* frame, ov_text_callback callback, void* user, ov_result** result);

OV_API ov_status ov_watch_close(ov_watch* watch);

#ifdef __cplusplus
}
#endif

#endif
