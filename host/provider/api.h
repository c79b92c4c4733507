/* SPDX-License-Identifier: MIT */
/*
 * What the file of an API sees: how it describes itself, and the call that it is handed.
 *
 * An API is a const struct wp_api in a file of its own below api/ and a line in api_table.c. The
 * core checks the sizes, counts, handles, bounds and access that the description asks for, before
 * `run`.
 */
#ifndef WINAPI_PROVIDER_API_H
#define WINAPI_PROVIDER_API_H

#include "../../common/hot.h"
#include "provider.h"

/* A handler touches at most this much of the buffers between two looks at cancel and deadline. */
#define WP_CHUNK ((size_t)1 << 20)

/*
 * A buffer of a call: `length` bytes from `skip` bytes into `segment` on, through those that
 * follow.
 */
struct wp_view {
	const struct wp_segment *segment;
	size_t skip;
	uint64_t length; /* 1 to WINAPI_MAX_BUFFER_SIZE */
	uint32_t access; /* WINAPI_ACCESS_*, what the guest asked for; the shared buffer allows it */
};

struct wp_call {
	/* The guest's data, a private copy, aligned to 8. */
	const void *in;
	uint32_t in_size;
	/* Room for the answer, aligned to 8; not cleared. Only out_size bytes of it are sent. */
	uint32_t out_capacity;
	void *out;
	uint32_t out_size; /* 0 until the handler sets it; ignored unless the status is OK */
	uint32_t buffer_count;
	uint64_t received_ns;
	uint64_t deadline_ns; /* 0: none */
	uint32_t cancelled; /* set by any thread: wp_atomic_load32 */
	uint32_t unchecked; /* bytes done since the last look, <= WP_CHUNK */
	struct wp_channel *channel;
	struct wp_session *session;
	struct wp_view view[WINAPI_MAX_BUFFERS];
};

/* Runs on the ring's thread or a worker, under no lock. Doesn't block; long work goes by wp_walk.
 */
typedef enum winapi_status (*wp_run_fn)(struct wp_call *call);

struct wp_method {
	uint16_t id;
	uint16_t min_in; /* bytes of inline data */
	uint16_t max_in;
	uint8_t min_buffers;
	uint8_t max_buffers;
	uint32_t access; /* WINAPI_ACCESS_* that every buffer must bring */
	wp_run_fn run;
	/*
	 * Bytes of buffers that the call will touch; NULL: their lengths, once. `in` isn't judged
	 * yet.
	 */
	uint64_t (*work)(const struct wp_call *call);
};

struct wp_api {
	uint32_t id;
	uint16_t version;
	uint16_t method_count;
	uint32_t flags; /* WINAPI_API_* */
	uint64_t inline_work; /* bytes up to which a call runs on the ring's thread; 0: as
				 configured */
	const char *name; /* < 32 bytes */
	const struct wp_method *methods;
};

/*
 * memcpy for inline data, in steps of constant size. A compiler that sees the bound of a small message makes "rep
 * movs" of a memcpy, which takes longer to start than a small message to copy; and the wide loads of a library's
 * memcpy wait for the narrower stores by which the message came here (see common/header.h).
 */
static inline void wp_copy(void *out, const void *in, uint32_t size)
{
	const uint8_t *from = in;
	uint8_t *to = out;

	for (; size >= 32; size -= 32, to += 32, from += 32)
		memcpy(to, from, 32);
	for (; size >= 8; size -= 8, to += 8, from += 8)
		memcpy(to, from, 8);
	for (; size; size--)
		*to++ = *from++;
}

/* A place in a buffer. */
struct wp_cursor {
	const struct wp_segment *segment;
	size_t skip;
	uint64_t left;
};

static inline struct wp_cursor wp_cursor_at_start(const struct wp_view *view)
{
	struct wp_cursor cursor = { view->segment, view->skip, view->length };

	return cursor;
}

/* The contiguous bytes at the cursor, at most `max`; 0 at the buffer's end. */
static inline size_t wp_cursor_look(struct wp_cursor *cursor, uint8_t **data, size_t max)
{
	size_t size;

	if (!cursor->left)
		return 0;
	while (cursor->skip == cursor->segment->size) {
		cursor->segment++;
		cursor->skip = 0;
	}
	size = cursor->segment->size - cursor->skip;
	if (size > cursor->left)
		size = (size_t)cursor->left;
	*data = cursor->segment->data + cursor->skip;
	return size < max ? size : max;
}

static inline void wp_cursor_advance(struct wp_cursor *cursor, size_t size)
{
	cursor->skip += size;
	cursor->left -= size;
}

/* Before every piece of work: OK, or CANCELED or TIMED_OUT, which the handler returns at once. */
enum winapi_status wp_call_check(struct wp_call *call);
/* Bytes that may be worked on until wp_call_check must be asked again. */
static inline size_t wp_call_allowance(const struct wp_call *call)
{
	return WP_CHUNK - call->unchecked;
}

/* Works on a piece of a buffer. False: enough, end the walk. */
typedef bool (*wp_piece_fn)(void *context, uint8_t *data, size_t size);

/* All of a buffer, piece by piece. OK, also when `piece` ended it; CANCELED or TIMED_OUT. */
enum winapi_status wp_walk(struct wp_call *call, const struct wp_view *view, wp_piece_fn piece,
			   void *context);

/* Does every buffer of the call bring these access bits? */
static inline bool wp_call_allows(const struct wp_call *call, uint32_t access)
{
	for (uint32_t i = 0; i < call->buffer_count; i++)
		if ((call->view[i].access & access) != access)
			return false;
	return true;
}

static inline uint64_t wp_call_bytes(const struct wp_call *call)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < call->buffer_count; i++)
		bytes += call->view[i].length;
	return bytes;
}

#endif /* WINAPI_PROVIDER_API_H */
