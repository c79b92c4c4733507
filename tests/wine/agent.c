/* SPDX-License-Identifier: MIT */
/*
 * What runs in user mode, as a process of Wine's: it stands for the VMs' worker processes, whose handles the
 * driver's offers need, and for whoever starts, stops and asks the driver.
 *
 * Usage: agent.exe CONTROL-SOCKET
 *
 * While it watches, each VM that arrives is offered the device, and its offer withdrawn when it has gone. On standard
 * input it takes commands, and answers each with lines of which the last is ".":
 *
 *	install NAME		the service of the driver system32\drivers\NAME.sys
 *	set NAME VALUE		a DWORD in winapi_remoting's Parameters
 *	start NAME, stop NAME	a driver: "ok", or "error" and Windows' number
 *	watch, rest		begins and ends to offer to VMs that arrive
 *	offer N			to VM N: "offer" and its id, or "error"
 *	withdraw ID		"ok" or "error"; waits
 *	handle N		a handle of VM N that stays open: this process' id, and the handle
 *	stats, list		"NAME VALUE" lines, or a line for each offer: id, state, opens, packets, in flight, GPADLs
 *	abuse NAME		runs a case of requests.c: "ok", or what was wrong
 *	abuses			their names
 */
#include "agent.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "linux.h"

#define PARAMETERS L"System\\CurrentControlSet\\Services\\winapi_remoting\\Parameters"
#define MAX_VMS 4096u

HANDLE device_open(DWORD flags)
{
	return CreateFileW(WINAPI_DEVICE_NAME, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING, flags,
			   NULL);
}

HANDLE vm_open(unsigned int number)
{
	char name[48];

	snprintf(name, sizeof(name), "Global\\winapi-vm-%u", number);
	return OpenEventA(SYNCHRONIZE, FALSE, name);
}

/* ---- Offers ------------------------------------------------------------------------------------------- */

DWORD offer(unsigned int number, uint64_t *id)
{
	HANDLE device = device_open(0), vm = vm_open(number);
	struct winapi_offer_request request = { .vmbus_handle = (ULONG_PTR)vm, .flags = WINAPI_OFFER_KEEP };
	struct winapi_offer_reply reply;
	DWORD size, error = 0;

	if (!DeviceIoControl(device, WINAPI_IOCTL_OFFER, &request, sizeof(request), &reply, sizeof(reply),
			     &size, NULL))
		error = GetLastError();
	else
		*id = reply.id;
	CloseHandle(vm);
	CloseHandle(device);
	return error;
}

DWORD withdraw(uint64_t id)
{
	struct winapi_withdraw_request request = { id };
	HANDLE device = device_open(0);
	DWORD size, error = 0;

	if (!DeviceIoControl(device, WINAPI_IOCTL_WITHDRAW, &request, sizeof(request), NULL, 0, &size, NULL))
		error = GetLastError();
	CloseHandle(device);
	return error;
}

/* ---- The VMs' side ------------------------------------------------------------------------------------ */

static int control;
static volatile LONG watching;
static uint64_t offers[MAX_VMS]; /* by the VM's number, modulo their count: long enough apart */

static void on_arrival(unsigned int number)
{
	char refuse[32];

	if (!watching || !offer(number, &offers[number % MAX_VMS]))
		return;
	offers[number % MAX_VMS] = 0;
	lx_send(control, refuse, (size_t)snprintf(refuse, sizeof(refuse), "refuse %u", number), -1);
}

/*
 * The driver may have gone before; then there is nothing to withdraw. While it goes, which is when its guests leave and
 * nobody watches, the device isn't even opened: Wine would call routines of a driver that is no longer there.
 */
static void on_departure(unsigned int number)
{
	uint64_t id = offers[number % MAX_VMS];

	offers[number % MAX_VMS] = 0;
	if (id && watching)
		withdraw(id);
}

static DWORD WINAPI watch_run(void *argument)
{
	char text[64];
	long long n;
	int passed;
	bool odd;

	(void)argument;
	while ((n = lx_receive(control, text, sizeof(text) - 1, &passed, &odd)) > 0) {
		unsigned int number;

		text[n < (long long)sizeof(text) ? n : (long long)sizeof(text) - 1] = '\0';
		if (sscanf(text, "arrived %u", &number) == 1)
			on_arrival(number);
		else if (sscanf(text, "gone %u", &number) == 1)
			on_departure(number);
	}
	return 0;
}

/* Once; the stand-in's socket is there when the driver was first loaded. */
static DWORD watch(const char *path)
{
	if (control <= 0) {
		control = lx_connect(path);
		if (control < 0)
			return ERROR_FILE_NOT_FOUND;
		CloseHandle(CreateThread(NULL, 0, watch_run, NULL, 0, NULL));
		lx_send(control, "watch", 5, -1);
	}
	watching = 1;
	lx_send(control, "waiting", 7, -1);
	return 0;
}

/* ---- The service -------------------------------------------------------------------------------------- */

/* Wine runs the drivers of a group in one process. */
#define GROUP "winapi"

/* A service that is there, from a run before or by another's hand, becomes what we want. */
static DWORD install(const char *name)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
	SC_HANDLE service = OpenServiceA(manager, name, SERVICE_ALL_ACCESS);
	char path[MAX_PATH];
	DWORD error = 0;

	snprintf(path, sizeof(path), "C:\\windows\\system32\\drivers\\%s.sys", name);
	if (!service)
		service = CreateServiceA(manager, name, name, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER,
					 SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, path, GROUP, NULL, NULL,
					 NULL, NULL);
	else if (!ChangeServiceConfigA(service, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, SERVICE_NO_CHANGE, path,
				       GROUP, NULL, NULL, NULL, NULL, NULL))
		error = GetLastError();
	if (!service)
		error = GetLastError();
	CloseServiceHandle(service);
	CloseServiceHandle(manager);
	return error;
}

static DWORD set(const char *arguments)
{
	WCHAR wide[64];
	char name[64];
	DWORD value;
	HKEY key;
	LONG error;

	if (sscanf(arguments, "%63s %lu", name, &value) != 2)
		return ERROR_INVALID_PARAMETER;
	MultiByteToWideChar(CP_UTF8, 0, name, -1, wide, 64);
	error = RegCreateKeyExW(HKEY_LOCAL_MACHINE, PARAMETERS, 0, NULL, 0, KEY_ALL_ACCESS, NULL, &key, NULL);
	if (!error)
		error = RegSetValueExW(key, wide, 0, REG_DWORD, (const BYTE *)&value, sizeof(value));
	RegCloseKey(key);
	return (DWORD)error;
}

static DWORD start_or_stop(const char *name, bool start)
{
	SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
	SC_HANDLE service = OpenServiceA(manager, name, SERVICE_ALL_ACCESS);
	SERVICE_STATUS status = { 0 };
	DWORD error = 0;

	if (!(start ? StartServiceW(service, 0, NULL) :
		      ControlService(service, SERVICE_CONTROL_STOP, &status)))
		error = GetLastError();
	for (int i = 0; !error && !start && i < 3000; i++) {
		QueryServiceStatus(service, &status);
		if (status.dwCurrentState == SERVICE_STOPPED)
			break;
		Sleep(10);
	}
	/* The next driver counts its offers from 1 again, and news of a VM's departure may come only then. */
	if (!start && !error)
		memset(offers, 0, sizeof(offers));
	CloseServiceHandle(service);
	CloseServiceHandle(manager);
	return error;
}

/* ---- Looking ------------------------------------------------------------------------------------------ */

DWORD stats(struct winapi_driver_stats *stats)
{
	HANDLE device = device_open(0);
	DWORD size, error = 0;

	if (!DeviceIoControl(device, WINAPI_IOCTL_STATS, NULL, 0, stats, sizeof(*stats), &size, NULL))
		error = GetLastError();
	CloseHandle(device);
	return error;
}

DWORD list(struct winapi_channel_list *list, DWORD room)
{
	HANDLE device = device_open(0);
	DWORD size, error = 0;

	if (!DeviceIoControl(device, WINAPI_IOCTL_LIST, NULL, 0, list, room, &size, NULL))
		error = GetLastError();
	CloseHandle(device);
	return error;
}

static const struct {
	const char *name;
	size_t offset;
} fields[] = {
#define FIELD(name) { #name, offsetof(struct winapi_driver_stats, name) },
	FIELD(offers) FIELD(offers_now) FIELD(opens) FIELD(packets) FIELD(external_packets)
		FIELD(external_pending) FIELD(deferred) FIELD(stalled) FIELD(malformed) FIELD(gpadls_now)
			FIELD(externals_now) FIELD(pool_allocations_now) FIELD(pool_bytes_now)
				FIELD(pool_failures)
#undef FIELD
};

static DWORD show_stats(void)
{
	struct winapi_driver_stats s;
	DWORD error = stats(&s);
	uint64_t value;

	for (unsigned int i = 0; !error && i < sizeof(fields) / sizeof(fields[0]); i++) {
		memcpy(&value, (const char *)&s + fields[i].offset, sizeof(value));
		printf("%s %llu\n", fields[i].name, (unsigned long long)value);
	}
	return error;
}

static DWORD show_list(void)
{
	struct winapi_channel_list *l = malloc(100000);
	DWORD error = list(l, 100000);

	for (uint32_t i = 0; !error && i < l->count; i++) {
		const struct winapi_channel_entry *e = &l->entry[i];

		printf("%llu %u %llu %llu %llu %llu\n", (unsigned long long)e->id, e->state,
		       (unsigned long long)e->opens, (unsigned long long)e->packets,
		       (unsigned long long)e->in_flight, (unsigned long long)e->gpadls);
	}
	free(l);
	return error;
}

/* ---- Commands ----------------------------------------------------------------------------------------- */

static void answer(DWORD error)
{
	if (error)
		printf("error %lu\n.\n", error);
	else
		printf("ok\n.\n");
}

static void show_offer(unsigned int number)
{
	uint64_t id = 0;
	DWORD error = offer(number, &id);

	if (!error)
		printf("offer %llu\n", (unsigned long long)id);
	answer(error);
}

static void show_handle(unsigned int number)
{
	HANDLE vm = vm_open(number);
	DWORD error = vm ? 0 : GetLastError();

	if (!error)
		printf("%lu %llu\n", GetCurrentProcessId(), (unsigned long long)(ULONG_PTR)vm);
	answer(error);
}

static void obey(const char *command, const char *argument, const char *path)
{
	if (!strcmp(command, "install"))
		answer(install(argument));
	else if (!strcmp(command, "set"))
		answer(set(argument));
	else if (!strcmp(command, "start"))
		answer(start_or_stop(argument, true));
	else if (!strcmp(command, "stop"))
		answer(start_or_stop(argument, false));
	else if (!strcmp(command, "watch"))
		answer(watch(path));
	else if (!strcmp(command, "rest"))
		answer((watching = 0, 0));
	else if (!strcmp(command, "offer"))
		show_offer((unsigned int)strtoul(argument, NULL, 10));
	else if (!strcmp(command, "handle"))
		show_handle((unsigned int)strtoul(argument, NULL, 10));
	else if (!strcmp(command, "withdraw"))
		answer(withdraw(strtoull(argument, NULL, 10)));
	else if (!strcmp(command, "stats"))
		answer(show_stats());
	else if (!strcmp(command, "list"))
		answer(show_list());
	else if (!strcmp(command, "abuses"))
		answer(abuse_names());
	else if (!strcmp(command, "abuse"))
		printf("%s\n.\n", abuse(argument));
	else
		printf("no such command\n.\n");
}

int main(int argc, char **argv)
{
	char line[512];

	if (argc != 2)
		return 2;
	setvbuf(stdout, NULL, _IOFBF, 4096);
	while (fgets(line, sizeof(line), stdin)) {
		char *argument;

		line[strcspn(line, "\r\n")] = '\0';
		argument = strchr(line, ' ');
		if (argument)
			*argument++ = '\0';
		obey(line, argument ? argument : "", argv[1]);
		fflush(stdout);
	}
	return 0;
}
