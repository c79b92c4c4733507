/* SPDX-License-Identifier: MIT */
/*
 * The APIs that this provider serves, one line each. Ids count up from 0 without gaps, so that the
 * id is the index.
 */
#include "core.h"

#define WP_APIS(X) \
	X(WINAPI_API_INTROSPECTION, wp_introspection_api) \
	X(WINAPI_API_ECHO, wp_echo_api) \
	X(WINAPI_API_BUFFER_TEST, wp_buffer_test_api) \
	X(WINAPI_API_PERF_TEST, wp_perf_test_api)

#define WP_DECLARE_API(id, api) extern const struct wp_api api;
WP_APIS(WP_DECLARE_API)

#define WP_API_ENTRY(id, api) [id] = &api,
const struct wp_api *const wp_api_table[] = { WP_APIS(WP_API_ENTRY) };

#define WP_API_ONE(id, api) +1
#define WP_API_TOTAL (0 WP_APIS(WP_API_ONE))
const uint32_t wp_api_count = WP_API_TOTAL;
WINAPI_STATIC_ASSERT(sizeof(wp_api_table) / sizeof(wp_api_table[0]) == WP_API_TOTAL);
