/* SPDX-License-Identifier: MIT */
/* A program of somebody else's, in C++, that knows only the installed header and library. */
#include <cstdio>
#include <cstring>
#include <winapi.h>

int main()
{
	struct winapi_open_options options = WINAPI_OPEN_OPTIONS_INIT;
	struct winapi *handle = nullptr;
	char in[] = "installed", out[sizeof(in)] = "";

	if (winapi_open(&handle, "local:", &options)) {
		std::fprintf(stderr, "%s\n", winapi_error_message());
		return 1;
	}
	int error = winapi_echo(handle, in, out, sizeof(in));
	winapi_close(handle);
	return error || std::memcmp(in, out, sizeof(in)) ? 1 : 0;
}
