/* SPDX-License-Identifier: MIT */
/* An application that calls the "text" API. Exits with 0 when every answer is right. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <winapi.h>

#include "text.h"

static int upper(struct winapi *handle, const char *in, char *out)
{
	struct winapi_call call = WINAPI_CALL_INIT;

	call.api = TEXT_API;
	call.method = TEXT_UPPER;
	call.in = in;
	call.out = out;
	call.in_size = call.out_capacity = (uint32_t)strlen(in) + 1;
	return winapi_call(handle, &call);
}

static int count(struct winapi *handle, const struct winapi_buffer_ref *ref, uint32_t byte, uint64_t *result)
{
	struct text_count_request request = { .byte = byte };
	struct winapi_call call = WINAPI_CALL_INIT;

	call.api = TEXT_API;
	call.method = TEXT_COUNT;
	call.in = &request;
	call.in_size = sizeof(request);
	call.out = result;
	call.out_capacity = sizeof(*result);
	call.buffers = ref;
	call.buffer_count = 1;
	return winapi_call(handle, &call);
}

static int check(int good, const char *what)
{
	printf("%s %s\n", good ? "right" : "WRONG", what);
	return good ? 0 : 1;
}

int main(void)
{
	struct winapi_buffer_ref ref = { .length = 10 << 20, .access = WINAPI_HOST_READS };
	struct winapi *handle;
	uint64_t found = 0;
	char out[32] = "";
	int wrong = 0;

	if (winapi_open(&handle, "local:", NULL) ||
	    winapi_buffer_alloc(handle, ref.length, WINAPI_HOST_READS, &ref.buffer)) {
		fprintf(stderr, "%s\n", winapi_error_message());
		return 1;
	}
	memset(winapi_buffer_data(ref.buffer), '.', ref.length);
	memcpy((char *)winapi_buffer_data(ref.buffer) + (5 << 20), "needles", 7);

	wrong += check(!upper(handle, "Hello, host!", out) && !strcmp(out, "HELLO, HOST!"), "upper");
	wrong += check(!count(handle, &ref, 'e', &found) && found == 3, "count in 10 MiB, in place");
	wrong += check(count(handle, &ref, 256, &found) == -EINVAL, "a byte of 256 is refused");
	ref.access = WINAPI_HOST_WRITES;
	wrong += check(count(handle, &ref, 'e', &found) < 0,
		       "a buffer that isn't shared for reading is refused");
	winapi_close(handle);
	return wrong ? 1 : 0;
}
