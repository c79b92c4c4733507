/* SPDX-License-Identifier: MIT */
/* winapi-hostctl.exe: installs, starts and asks winapi_remoting.sys. */
#include <windows.h>
#include <winioctl.h>

#include <stdbool.h>
#include <stdio.h>
#include <wchar.h>

#include "ioctl.h"

#define SERVICE L"winapi_remoting"

#ifndef ERROR_INVALID_IMAGE_HASH
#define ERROR_INVALID_IMAGE_HASH 577L
#endif

int wmain(int argc, wchar_t **argv);

static const wchar_t usage_text[] =
	L"usage: winapi-hostctl COMMAND\n"
	L"\n"
	L"  install [FILE]      registers the driver; FILE: winapi_remoting.sys beside this program\n"
	L"  uninstall           removes it from the registry\n"
	L"  start | stop        loads it; withdraws all offers and unloads it\n"
	L"  offer --device PATH [OPTION]...\n"
	L"  offer --process PID --handle VALUE [OPTION]...\n"
	L"                      offers the device to the VM whose VMBus handle PATH opens, or PID has\n"
	L"      --instance GUID    the offer's instance; else a new one\n"
	L"      --hold             until Enter is pressed; else until it is withdrawn\n"
	L"  withdraw ID         takes an offer back, and waits until the guest is out of it\n"
	L"  list                the offers\n"
	L"  stat                what the driver has counted\n"
	L"\n"
	L"All but the usage needs an administrator.\n";

/* ---- Errors -------------------------------------------------------------------------------------------- */

static int usage(void)
{
	fputws(usage_text, stderr);
	return 2;
}

/* What to do about it, for errors whose own text doesn't say. */
static const wchar_t *advice(DWORD error)
{
	switch (error) {
	case ERROR_ACCESS_DENIED:
		return L"run it as an administrator";
	case ERROR_INVALID_IMAGE_HASH:
	case ERROR_DRIVER_BLOCKED:
		return L"the driver's signature isn't accepted here: see docs/windows.md, \"Signing\"";
	case ERROR_PROC_NOT_FOUND:
	case ERROR_MOD_NOT_FOUND:
		return L"this Windows lacks KMCL, or what the driver was built to import from it: see docs/windows.md";
	case ERROR_BUSY:
		return L"it is on its way out already, and its guest hasn't left it: see \"winapi-hostctl list\"";
	case ERROR_SERVICE_DOES_NOT_EXIST:
		return L"install it first";
	default:
		return NULL;
	}
}

static int fail_with(DWORD error, const wchar_t *what)
{
	const wchar_t *hint = advice(error);
	wchar_t text[256];
	DWORD length = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, error,
				      0, text, ARRAYSIZE(text), NULL);

	while (length && wcschr(L"\r\n .", text[length - 1]))
		length--;
	text[length] = L'\0';
	fwprintf(stderr, L"winapi-hostctl: %ls: %ls (error %lu)\n", what, length ? text : L"unknown error",
		 error);
	if (hint)
		fwprintf(stderr, L"winapi-hostctl: %ls\n", hint);
	return 1;
}

static int fail(const wchar_t *what)
{
	return fail_with(GetLastError(), what);
}

/* ---- The service --------------------------------------------------------------------------------------- */

/* The handle closes with the process. */
static SC_HANDLE manager(DWORD access)
{
	SC_HANDLE handle = OpenSCManagerW(NULL, NULL, access);

	if (!handle)
		fail(L"the service manager can't be opened");
	return handle;
}

static SC_HANDLE service(DWORD access)
{
	SC_HANDLE all = manager(SC_MANAGER_CONNECT), handle;

	if (!all)
		return NULL;
	handle = OpenServiceW(all, SERVICE, access);
	if (!handle)
		fail(L"service " SERVICE);
	return handle;
}

/* The driver's full path: as given, or beside this program. */
static bool driver_path(const wchar_t *given, wchar_t path[MAX_PATH])
{
	wchar_t *name;
	DWORD length;

	if (given) {
		length = GetFullPathNameW(given, MAX_PATH, path, NULL);
		return length && length < MAX_PATH;
	}
	length = GetModuleFileNameW(NULL, path, MAX_PATH);
	if (!length || length == MAX_PATH)
		return false;
	name = wcsrchr(path, L'\\') + 1;
	if (name - path + wcslen(SERVICE L".sys") >= MAX_PATH)
		return false;
	wcscpy(name, SERVICE L".sys");
	return true;
}

static int install(int argc, wchar_t **argv)
{
	wchar_t path[MAX_PATH];
	SC_HANDLE all;

	if (argc > 1)
		return usage();
	if (!driver_path(argc ? argv[0] : NULL, path))
		return fail(L"the driver's path");
	if (GetFileAttributesW(path) == INVALID_FILE_ATTRIBUTES)
		return fail(path);
	all = manager(SC_MANAGER_CREATE_SERVICE);
	if (!all)
		return 1;
	if (!CreateServiceW(all, SERVICE, L"Windows API remoting over VMBus", SERVICE_ALL_ACCESS,
			    SERVICE_KERNEL_DRIVER, SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, path, NULL,
			    NULL, NULL, NULL, NULL))
		return fail(L"it can't be installed");
	return 0;
}

static int uninstall(int argc, wchar_t **argv)
{
	SC_HANDLE handle;

	(void)argv;
	if (argc)
		return usage();
	handle = service(DELETE);
	if (!handle)
		return 1;
	return DeleteService(handle) ? 0 : fail(L"it can't be removed");
}

static int start(int argc, wchar_t **argv)
{
	SC_HANDLE handle;

	(void)argv;
	if (argc)
		return usage();
	handle = service(SERVICE_START);
	if (!handle)
		return 1;
	return StartServiceW(handle, 0, NULL) ? 0 : fail(L"it can't be started");
}

static int stop(int argc, wchar_t **argv)
{
	SERVICE_STATUS status;
	SC_HANDLE handle;

	(void)argv;
	if (argc)
		return usage();
	handle = service(SERVICE_STOP);
	if (!handle)
		return 1;
	return ControlService(handle, SERVICE_CONTROL_STOP, &status) ? 0 : fail(L"it can't be stopped");
}

/* ---- The device ---------------------------------------------------------------------------------------- */

static HANDLE device(void)
{
	HANDLE handle = CreateFileW(WINAPI_DEVICE_NAME, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
				    0, NULL);

	if (handle != INVALID_HANDLE_VALUE)
		return handle;
	if (GetLastError() == ERROR_FILE_NOT_FOUND)
		fwprintf(stderr,
			 L"winapi-hostctl: the driver isn't loaded: \"winapi-hostctl start\" loads it\n");
	else
		fail(WINAPI_DEVICE_NAME);
	return NULL;
}

/* Bytes of the answer, or -1 with GetLastError. */
static long ask(HANDLE handle, DWORD code, void *in, DWORD in_size, void *out, DWORD out_size)
{
	DWORD got;

	return DeviceIoControl(handle, code, in, in_size, out, out_size, &got, NULL) ? (long)got : -1;
}

/* ---- GUIDs, as in memory ---------------------------------------------------------------------------------- */

static void print_guid(const uint8_t bytes[16])
{
	GUID g;

	memcpy(&g, bytes, sizeof(g));
	wprintf(L"%08lx-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", g.Data1, g.Data2, g.Data3, g.Data4[0],
		g.Data4[1], g.Data4[2], g.Data4[3], g.Data4[4], g.Data4[5], g.Data4[6], g.Data4[7]);
}

static bool parse_guid(const wchar_t *text, uint8_t bytes[16])
{
	unsigned int b[8], b2, b3;
	unsigned long b1;
	int end = 0;
	GUID g;

	if (wcslen(text) != 36 ||
	    swscanf(text, L"%8lx-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x%n", &b1, &b2, &b3, &b[0], &b[1], &b[2],
		    &b[3], &b[4], &b[5], &b[6], &b[7], &end) != 11 ||
	    end != 36)
		return false;
	g.Data1 = b1;
	g.Data2 = (unsigned short)b2;
	g.Data3 = (unsigned short)b3;
	for (int i = 0; i < 8; i++)
		g.Data4[i] = (unsigned char)b[i];
	memcpy(bytes, &g, sizeof(g));
	return true;
}

static bool parse_number(const wchar_t *text, unsigned long long *number)
{
	wchar_t *end;

	errno = 0;
	*number = wcstoull(text, &end, 0);
	return iswdigit(text[0]) && !*end && !errno;
}

/* ---- offer -------------------------------------------------------------------------------------------------- */

struct offer_options {
	const wchar_t *path;
	unsigned long long process;
	unsigned long long handle;
	uint8_t instance[16];
	bool hold;
};

/* True: understood. */
static bool parse_offer(int argc, wchar_t **argv, struct offer_options *options)
{
	for (int i = 0; i < argc; i++) {
		const wchar_t *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!wcscmp(argv[i], L"--hold")) {
			options->hold = true;
			continue;
		}
		if (!value)
			return false;
		if (!wcscmp(argv[i], L"--device"))
			options->path = value;
		else if (!wcscmp(argv[i], L"--process") && parse_number(value, &options->process))
			;
		else if (!wcscmp(argv[i], L"--handle") && parse_number(value, &options->handle))
			;
		else if (wcscmp(argv[i], L"--instance") || !parse_guid(value, options->instance))
			return false;
		i++;
	}
	return options->process <= MAXDWORD && !options->path == (options->process && options->handle);
}

static HANDLE from_process(const struct offer_options *options)
{
	HANDLE owner = OpenProcess(PROCESS_DUP_HANDLE, FALSE, (DWORD)options->process), vmbus = NULL;

	if (!owner) {
		fail(L"that process");
		return NULL;
	}
	if (!DuplicateHandle(owner, (HANDLE)(ULONG_PTR)options->handle, GetCurrentProcess(), &vmbus, 0, FALSE,
			     DUPLICATE_SAME_ACCESS))
		fail(L"that process's handle");
	CloseHandle(owner);
	return vmbus;
}

static HANDLE vmbus_handle(const struct offer_options *options)
{
	HANDLE vmbus;

	if (!options->path)
		return from_process(options);
	vmbus = CreateFileW(options->path, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
			    NULL, OPEN_EXISTING, 0, NULL);
	if (vmbus != INVALID_HANDLE_VALUE)
		return vmbus;
	fail(options->path);
	return NULL;
}

static int offer(int argc, wchar_t **argv)
{
	struct winapi_offer_request request = { 0 };
	struct offer_options options = { 0 };
	struct winapi_offer_reply reply;
	HANDLE handle, vmbus;

	if (!parse_offer(argc, argv, &options))
		return usage();
	handle = device();
	vmbus = handle ? vmbus_handle(&options) : NULL;
	if (!vmbus)
		return 1;
	request.vmbus_handle = (ULONG_PTR)vmbus;
	request.flags = options.hold ? 0 : WINAPI_OFFER_KEEP;
	memcpy(request.instance, options.instance, sizeof(request.instance));
	if (ask(handle, WINAPI_IOCTL_OFFER, &request, sizeof(request), &reply, sizeof(reply)) !=
	    sizeof(reply))
		return fail(L"it can't be offered");
	wprintf(L"%llu ", (unsigned long long)reply.id);
	print_guid(reply.instance);
	wprintf(L"\n");
	fflush(stdout);
	if (options.hold)
		getwchar();
	return 0;
}

/* ---- The other questions --------------------------------------------------------------------------------------- */

static int withdraw(int argc, wchar_t **argv)
{
	struct winapi_withdraw_request request;
	unsigned long long id;
	HANDLE handle;

	if (argc != 1 || !parse_number(argv[0], &id))
		return usage();
	handle = device();
	if (!handle)
		return 1;
	request.id = id;
	if (ask(handle, WINAPI_IOCTL_WITHDRAW, &request, sizeof(request), NULL, 0) < 0)
		return fail(L"it can't be withdrawn");
	return 0;
}

static const wchar_t *state_name(uint32_t state)
{
	static const wchar_t *const names[] = { [WINAPI_CHANNEL_OFFERED] = L"offered",
						[WINAPI_CHANNEL_OPEN] = L"open",
						[WINAPI_CHANNEL_FAILED] = L"failed",
						[WINAPI_CHANNEL_WITHDRAWN] = L"withdrawn" };

	return state < ARRAYSIZE(names) && names[state] ? names[state] : L"?";
}

static void print_list(const struct winapi_channel_list *list)
{
	wprintf(L"%-6ls %-9ls %-36ls %8ls %12ls %9ls %6ls\n", L"id", L"state", L"instance", L"opens",
		L"packets", L"in flight", L"gpadls");
	for (uint32_t i = 0; i < list->count; i++) {
		const struct winapi_channel_entry *e = &list->entry[i];

		wprintf(L"%-6llu %-9ls ", (unsigned long long)e->id, state_name(e->state));
		print_guid(e->instance);
		wprintf(L" %8llu %12llu %9llu %6llu\n", (unsigned long long)e->opens,
			(unsigned long long)e->packets, (unsigned long long)e->in_flight,
			(unsigned long long)e->gpadls);
	}
}

static int list(int argc, wchar_t **argv)
{
	/* More than the driver ever has. */
	static union {
		struct winapi_channel_list list;
		uint8_t room[sizeof(struct winapi_channel_list) + 1024 * sizeof(struct winapi_channel_entry)];
	} answer;
	HANDLE handle;

	(void)argv;
	if (argc)
		return usage();
	handle = device();
	if (!handle)
		return 1;
	if (ask(handle, WINAPI_IOCTL_LIST, NULL, 0, &answer, sizeof(answer)) < (long)sizeof(answer.list))
		return fail(L"the offers can't be listed");
	print_list(&answer.list);
	return 0;
}

static void print_stats(const struct winapi_driver_stats *s)
{
	const struct {
		const wchar_t *name;
		uint64_t value;
	} lines[] = {
		{ L"offers now", s->offers_now },
		{ L"offers made", s->offers },
		{ L"channels opened", s->opens },
		{ L"requests", s->provider.channel_requests },
		{ L"replies", s->provider.channel_replies },
		{ L"replies with an error", s->provider.channel_errors },
		{ L"requests parked now", s->provider.channel_in_flight },
		{ L"channels now", s->provider.provider_channels },
		{ L"sessions now", s->provider.provider_sessions },
		{ L"buffers now", s->provider.provider_buffers },
		{ L"buffer bytes now", s->provider.provider_bytes },
		{ L"buffer bytes copied", s->provider.bytes_copied },
		{ L"packets", s->packets },
		{ L"packets with pages", s->external_packets },
		{ L"pages that came late", s->external_pending },
		{ L"packets deferred", s->deferred },
		{ L"packets stalled", s->stalled },
		{ L"channels failed", s->malformed },
		{ L"GPADLs mapped now", s->gpadls_now },
		{ L"packets' pages mapped now", s->externals_now },
		{ L"pool allocations now", s->pool_allocations_now },
		{ L"pool bytes now", s->pool_bytes_now },
		{ L"pool failures", s->pool_failures },
	};

	for (size_t i = 0; i < ARRAYSIZE(lines); i++)
		wprintf(L"%-26ls %llu\n", lines[i].name, (unsigned long long)lines[i].value);
}

static int stat_command(int argc, wchar_t **argv)
{
	struct winapi_driver_stats stats;
	HANDLE handle;

	(void)argv;
	if (argc)
		return usage();
	handle = device();
	if (!handle)
		return 1;
	if (ask(handle, WINAPI_IOCTL_STATS, NULL, 0, &stats, sizeof(stats)) != sizeof(stats))
		return fail(L"it doesn't tell its statistics");
	print_stats(&stats);
	return 0;
}

int wmain(int argc, wchar_t **argv)
{
	static const struct {
		const wchar_t *name;
		int (*run)(int argc, wchar_t **argv);
	} commands[] = {
		{ L"install", install }, { L"uninstall", uninstall }, { L"start", start },
		{ L"stop", stop },	 { L"offer", offer },	      { L"withdraw", withdraw },
		{ L"list", list },	 { L"stat", stat_command },
	};

	for (size_t i = 0; argc > 1 && i < ARRAYSIZE(commands); i++)
		if (!wcscmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	return usage();
}
