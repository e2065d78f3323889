/* A CUDA runtime on the host, with the signatures of NVIDIA's documentation: what the ctypes calls are tested with.
 *
 * Work waits in a queue until its stream is waited for; while a stream is captured it goes into a graph instead.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 1, NO_MEMORY = 2, MOST = 4096 };
typedef struct {
  char* to;
  const char* from; /* NULL: zeros */
  size_t to_pitch, from_pitch, width, rows;
} Work;
typedef struct {
  Work work[MOST];
  size_t count;
} List;
typedef struct {
  List queue, *capture;
} Stream;

int live_memories = 0, live_pinned = 0, live_streams = 0, live_graphs = 0, live_executables = 0;
int driver_version = 13000, runtime_version = 13000, device_count_status = 0;
size_t memory_limit = 1 << 30;

int cudaRuntimeGetVersion(int* version) { return *version = runtime_version, OK; }
int cudaDriverGetVersion(int* version) { return *version = driver_version, OK; }
int cudaGetDeviceCount(int* count) { return *count = 1, device_count_status; }
int cudaGetDevice(int* device) { return *device = 0, OK; }
int cudaGetLastError(void) { return OK; }
int cudaMemGetInfo(size_t* free_, size_t* total) { return *free_ = 5, *total = 7ull << 30, OK; }

const char* cudaGetErrorString(int status) {
  return status == NO_MEMORY ? "out of memory" : status == INVALID ? "invalid argument" : "some error";
}

int cudaDeviceGetAttribute(int* value, int attribute, int device) {
  if (device != 0 || (attribute != 75 && attribute != 76)) return INVALID;
  return *value = attribute == 75 ? 8 : 7, OK;
}

int cudaGetDeviceProperties_v2(void* properties, int device) {
  memset(properties, 0, 1008);
  strcpy(properties, "Host GPU");
  return device == 0 ? OK : INVALID;
}

int cudaMalloc(void** memory, size_t size) {
  if (size > memory_limit) return NO_MEMORY;
  *memory = aligned_alloc(256, (size + 255) / 256 * 256);
  memset(*memory, 0xee, size);
  return live_memories++, OK;
}

int cudaFree(void* memory) { return free(memory), live_memories--, OK; }

int cudaHostAlloc(void** memory, size_t size, unsigned flags) {
  *memory = malloc(size);
  memset(*memory, 0xee, size);
  return live_pinned++, flags == 0 ? OK : INVALID;
}

int cudaFreeHost(void* memory) { return free(memory), live_pinned--, OK; }

int cudaStreamCreateWithFlags(Stream** stream, unsigned flags) {
  *stream = calloc(1, sizeof(Stream));
  return live_streams++, flags == 1 ? OK : INVALID;
}

int cudaStreamDestroy(Stream* stream) { return free(stream), live_streams--, OK; }

static int ask(Stream* stream, Work work) {
  List* list = stream->capture ? stream->capture : &stream->queue;
  if (work.width > work.to_pitch || (work.from && work.width > work.from_pitch) || list->count == MOST) return INVALID;
  return list->work[list->count++] = work, OK;
}

int cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, Stream* stream) {
  return kind < 1 || kind > 3 ? INVALID : ask(stream, (Work){to, from, size, size, size, 1});
}

int cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t rows,
                      int kind, Stream* stream) {
  return kind < 1 || kind > 3 ? INVALID : ask(stream, (Work){to, from, to_pitch, from_pitch, width, rows});
}

int cudaMemsetAsync(void* to, int value, size_t size, Stream* stream) {
  return value ? INVALID : ask(stream, (Work){to, NULL, size, 0, size, 1});
}

int cudaMemset2DAsync(void* to, size_t pitch, int value, size_t width, size_t rows, Stream* stream) {
  return value ? INVALID : ask(stream, (Work){to, NULL, pitch, 0, width, rows});
}

int cudaStreamSynchronize(Stream* stream) {
  if (stream->capture) return INVALID;
  for (size_t i = 0; i < stream->queue.count; i++) {
    Work w = stream->queue.work[i];
    for (size_t row = 0; row < w.rows; row++) {
      if (w.from) memcpy(w.to + row * w.to_pitch, w.from + row * w.from_pitch, w.width);
      else memset(w.to + row * w.to_pitch, 0, w.width);
    }
  }
  return stream->queue.count = 0, OK;
}

int cudaStreamBeginCapture(Stream* stream, int mode) {
  if (stream->capture || mode != 1) return INVALID;
  stream->capture = calloc(1, sizeof(List));
  return live_graphs++, OK;
}

int cudaStreamEndCapture(Stream* stream, List** graph) {
  *graph = stream->capture;
  return stream->capture = NULL, *graph ? OK : INVALID;
}

int cudaGraphInstantiateWithFlags(List** executable, List* graph, unsigned long long flags) {
  *executable = malloc(sizeof(List));
  **executable = *graph;
  return live_executables++, flags == 0 ? OK : INVALID;
}

int cudaGraphDestroy(List* graph) { return free(graph), live_graphs--, OK; }
int cudaGraphExecDestroy(List* executable) { return free(executable), live_executables--, OK; }

int cudaGraphLaunch(List* executable, Stream* stream) {
  for (size_t i = 0; i < executable->count; i++) ask(stream, executable->work[i]);
  return OK;
}
