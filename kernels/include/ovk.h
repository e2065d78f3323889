/* The C ABI of the kernels: plain structs and status codes; nothing is thrown across it and nothing exits.
 *
 * The library for the CPU (ovk) and the one for CUDA (ovk_cuda) both carry the three queries; each carries the
 * operations of its own device. See docs/kernels.md.
 */
#ifndef OVK_H_
#define OVK_H_

#include <stdint.h>

#define OVK_API __attribute__((visibility("default")))

#define OVK_VERSION "0.1.0"
#define OVK_ABI_VERSION 2 /* changes with any signature, struct or number below */

#ifdef __cplusplus
extern "C" {
#endif

typedef enum ovk_status {
  OVK_OK = 0,
  OVK_NULL_POINTER = 1,  /* where something is to be read or written */
  OVK_BAD_SHAPE = 2,     /* a negative size, or more than 64 bits of bytes or 31 bits of tokens */
  OVK_BAD_DTYPE = 3,     /* none of ovk_dtype */
  OVK_BAD_ALIGNMENT = 4, /* a pointer that is no multiple of its element's size */
  OVK_BAD_OPTION = 5,    /* a negative number of threads, or rows in flight other than 0, 1, 2, 4 */
  OVK_BAD_INDEX = 6,     /* a plan that names a row, or a sample, that there is not */
  OVK_DEVICE_FAILED = 7, /* the launch on the device was refused */
} ovk_status;

typedef enum ovk_dtype {
  OVK_FLOAT32 = 0,
  OVK_FLOAT16 = 1,
  OVK_BFLOAT16 = 2,
} ovk_dtype;

/* out[t] = sum over s = 0..3 of weights[t][s] * rows[indices[t][s]], in float32 and in that order.
 *
 * A source of weight zero is not read, but its index is checked like the others. All arrays are dense, row by row;
 * `out` overlaps none of the others. Any pointer alignment of the element's own size is fine.
 */
typedef struct ovk_token_pool {
  const void* rows;       /* [num_rows, dim] of dtype */
  const int32_t* indices; /* [num_tokens, 4] */
  const float* weights;   /* [num_tokens, 4] */
  void* out;              /* [num_tokens, dim] of dtype */
  int64_t num_rows;
  int64_t num_tokens; /* below 2^31 */
  int64_t dim;
  int32_t dtype; /* ovk_dtype */
} ovk_token_pool;

#define OVK_RESAMPLE_BITS 22

/* out[a][m][b] = the sum over k of weights[m][k] * in[a][first[m] + k][b], rounded to a multiple of
 * 2^OVK_RESAMPLE_BITS, as so many of these, and no less than 0 and no more than 255: one pass of Pillow's resize, to the
 * same bits. Along the rows of a picture `inner` is its channels; down its columns `outer` is 1 and `inner` a whole row.
 *
 * Sums are of 32 bits and wrap. All arrays are dense; `out` overlaps none of the others.
 */
typedef struct ovk_resample {
  const uint8_t* in;      /* [outer, in_size, inner] */
  const int32_t* first;   /* [out_size] */
  const int32_t* weights; /* [out_size, taps] */
  uint8_t* out;           /* [outer, out_size, inner] */
  int64_t outer;
  int64_t in_size;
  int64_t inner;
  int64_t out_size;
  int64_t taps;
} ovk_resample;

OVK_API const char* ovk_version(void);

/* OVK_ABI_VERSION of the library, to be compared with the caller's before anything else is called. */
OVK_API int32_t ovk_abi_version(void);

/* A short English phrase; never NULL. */
OVK_API const char* ovk_status_text(int32_t status);

/* The instruction set that this processor is served with: "plain" or "avx2". */
OVK_API const char* ovk_cpu_isa(void);

/* On the CPU. `threads`: 0 takes as many as the process may use, fewer for little work, or where the system has no more
 * threads or memory to give; the caller's is one of them, and needs no memory.
 * OVK_BAD_INDEX: nothing was written to `out`, and *bad_token (unless NULL) is the first token at fault.
 */
OVK_API int32_t ovk_token_pool_cpu(const ovk_token_pool* pool, int32_t threads, int64_t* bad_token);

/* On the CPU, on the caller's thread alone: parts of `outer` or of `out_size` may be given to several. Needs no memory.
 * OVK_BAD_INDEX: nothing was written to `out`, and *bad_sample (unless NULL) is the first of `out_size` whose taps
 * leave the samples.
 */
OVK_API int32_t ovk_resample_cpu(const ovk_resample* resample, int64_t* bad_sample);

/* On the current CUDA device, as one launch on `stream` (a cudaStream_t): it allocates nothing and waits for nothing,
 * so it can be captured into a graph. All pointers are the device's.
 *
 * An index outside is known only once the kernel runs: no such row is read, the token is written as zeros, and
 * *bad_token is lowered to the first token at fault. Set it to OVK_NO_BAD_TOKEN beforehand and read it after the
 * stream was waited for; NULL: zeros alone. `rows_in_flight` (1, 2, 4; 0 chooses) is how many tokens a thread loads
 * before it adds any of them up.
 */
#define OVK_NO_BAD_TOKEN INT32_MAX
OVK_API int32_t ovk_token_pool_cuda(const ovk_token_pool* pool, int32_t rows_in_flight, int32_t* bad_token,
                                    void* stream);

#ifdef __cplusplus
}
#endif

#endif /* OVK_H_ */
