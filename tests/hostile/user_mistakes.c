/* SPDX-License-Identifier: MIT */
/* What a user gets wrong before any host is involved: each gets an errno and a message that says what to do. */
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostile_host.h"

static char folder[] = "/tmp/winapi-mistakes-XXXXXX";

/* An open that must fail with `err` and a message that has `text` in it. */
static void refuses(const char *name, const char *uri, const struct winapi_open_options *options, int err,
		    const char *text)
{
	struct winapi *handle = (struct winapi *)1;
	int got = winapi_open(&handle, uri, options);

	if (got != err || handle) {
		printf("# winapi_open: %d, not %d\n", got, err);
		report(name, "winapi_open fails as it should and leaves no handle");
	} else {
		report(name, strstr(winapi_error_message(), text) ? NULL : winapi_error_message());
	}
}

static void refuses_options(const char *name, struct winapi_open_options options, int err, const char *text)
{
	refuses(name, "local:", &options, err, text);
}

static char *uri_of(const char *name)
{
	static char uri[200];

	snprintf(uri, sizeof(uri), "local:%s/%s", folder, name);
	return uri;
}

static char *path_of(const char *name)
{
	return uri_of(name) + 6;
}

static void uris(void)
{
	char longest[300];

	refuses("an unknown scheme", "http://localhost", NULL, -EINVAL, "\"local:PATH\"");
	refuses("no scheme", "/run/winapi/hostd.sock", NULL, -EINVAL, "isn't a URI");
	refuses("no colon", "local", NULL, -EINVAL, "isn't a URI");
	refuses("vmbus: with more", "vmbus:x", NULL, -EINVAL, "isn't a URI");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "local:/", 7);
	longest[sizeof(longest) - 1] = '\0';
	refuses("a path that no socket can have", longest, NULL, -EINVAL, "longer");
	longest[0] = 'X';
	refuses("300 bytes that are no URI", longest, NULL, -EINVAL, "isn't a URI");
	report("nowhere to put a handle",
	       winapi_open(NULL, "local:", NULL) == -EINVAL && strstr(winapi_error_message(), "NULL") ?
		       NULL :
		       "winapi_open(NULL)");
}

static void daemons(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	refuses("a daemon that isn't there", uri_of("nobody"), NULL, -ENOENT,
		"systemctl start winapi-hostd.socket");
	fclose(fopen(path_of("file"), "w"));
	refuses("a plain file", uri_of("file"), NULL, -ECONNREFUSED, "is winapi-hostd running?");
	refuses("a folder", uri_of(""), NULL, -ECONNREFUSED, "is winapi-hostd running?");
	strcpy(address.sun_path, path_of("stream"));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 1))
		abort();
	refuses("a socket of another kind", uri_of("stream"), NULL, -EPROTOTYPE, "is winapi-hostd running?");
	close(fd);
	refuses("a daemon that has gone", uri_of("stream"), NULL, -ECONNREFUSED, "is winapi-hostd running?");
}

/* A daemon that is there but accepts nobody: connect() waits for a place in its queue. */
static void full_queue(void)
{
	struct winapi_open_options o = WINAPI_OPEN_OPTIONS_INIT;
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), waiting[64], n = 0;

	strcpy(address.sun_path, path_of("queue"));
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 0))
		abort();
	do
		waiting[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	while (!connect(waiting[n++], (struct sockaddr *)&address, sizeof(address)) && n < 64);
	o.timeout_ms = SHORT_MS;
	refuses("a daemon that accepts nobody", uri_of("queue"), &o, -ETIMEDOUT, "accepts no connection");
	while (n)
		close(waiting[--n]);
	close(listener);
	unlink(path_of("queue"));
}

static void ignore(int number)
{
	(void)number;
}

/* It has to be killed in the end, also where signals of the application's break the wait for it. */
static void private_host_that_stays(void)
{
	const struct itimerval often = { .it_interval.tv_usec = 50000, .it_value.tv_usec = 50000 },
			       off = { 0 };
	const struct sigaction action = { .sa_handler = ignore };
	struct winapi_open_options o = WINAPI_OPEN_OPTIONS_INIT;
	FILE *script = fopen(path_of("talker"), "w");

	fprintf(script, "#!/bin/sh\nexec sleep 100000\n");
	fclose(script);
	chmod(path_of("talker"), 0755);
	setenv("WINAPI_HOSTD", path_of("talker"), 1);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	o.timeout_ms = SHORT_MS;
	refuses("a private host that stays on", "local:", &o, -ETIMEDOUT, "silent");
	setitimer(ITIMER_REAL, &off, NULL);
}

static void private_hosts(const char *hostd)
{
	FILE *script;

	setenv("WINAPI_HOSTD", path_of("nothing"), 1);
	refuses("a private host that isn't installed", "local:", NULL, -ENOENT, "WINAPI_HOSTD");
	setenv("WINAPI_HOSTD", path_of("file"), 1);
	refuses("a private host that can't be executed", "local:", NULL, -EACCES, "WINAPI_HOSTD");
	setenv("WINAPI_HOSTD", "/bin/true", 1);
	refuses("a private host that ends at once", "local:", NULL, -ENODEV, "closed the connection");
	script = fopen(path_of("talker"), "w");
	fprintf(script, "#!/bin/sh\nprintf 'good morning' >&3\nexec sleep 1\n");
	fclose(script);
	chmod(path_of("talker"), 0755);
	setenv("WINAPI_HOSTD", path_of("talker"), 1);
	refuses("a private host that says good morning", "local:", NULL, -ENODEV, "rules");
	private_host_that_stays();
	setenv("WINAPI_HOSTD", hostd, 1);
}

static void options(void)
{
	struct winapi_open_options o = WINAPI_OPEN_OPTIONS_INIT;
	struct {
		struct winapi_open_options known;
		uint64_t later;
	} newer = { WINAPI_OPEN_OPTIONS_INIT, 1 };

	o.ring_size = 5000;
	refuses_options("a ring size that is no power of two", o, -EINVAL, "power of two");
	o.ring_size = 2048;
	refuses_options("a ring too small", o, -EINVAL, "4096");
	o.ring_size = 2u << 20;
	refuses_options("a ring too large", o, -EINVAL, "1048576");
	o.ring_size = 0;
	o.poll = 3;
	refuses_options("a way of waiting that isn't", o, -EINVAL, "WINAPI_POLL_ADAPTIVE");
	o.poll = 0;
	o.reserved = 1;
	refuses_options("a reserved field", o, -EINVAL, "reserved");
	o.reserved = 0;
	o.size = 0;
	refuses_options("options without a size", o, -EINVAL, "_INIT");
	newer.known.size = sizeof(newer);
	refuses("options of a later version", "local:", &newer.known, -E2BIG, "doesn't know");
}

static pid_t start_daemon(const char *hostd, const char *name)
{
	pid_t pid = fork();

	if (!pid) {
		freopen("/dev/null", "w", stderr);
		execl(hostd, hostd, "--socket", path_of(name), "--log-level", "error", NULL);
		_exit(127);
	}
	return pid;
}

static int status_of(pid_t pid)
{
	int status;

	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Once its socket is there it can be connected to, and another can't have it. */
static const char *daemon_is_alone(const char *hostd, pid_t pid)
{
	struct winapi *handle = NULL;
	struct stat there;

	for (int i = 0; i < 3000 && stat(path_of("hostd"), &there); i++)
		usleep(10000);
	EXPECT(winapi_open(&handle, uri_of("hostd"), NULL) == 0);
	EXPECT(status_of(start_daemon(hostd, "hostd")) == 1);
	EXPECT(echo_once(handle) == 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	EXPECT(echo_once(handle) == -ENODEV);
	EXPECT(strstr(winapi_error_message(), "open another"));
	EXPECT(echo_once(handle) == -ENODEV);
	winapi_close(handle);
	EXPECT(winapi_open(&handle, uri_of("hostd"), NULL) == -ECONNREFUSED);
	EXPECT(strstr(winapi_error_message(), "is winapi-hostd running?"));
	return NULL;
}

/* A daemon that is killed between two calls: the handle says so from then on, another can be opened. */
static const char *daemon_vanishes(const char *hostd)
{
	pid_t pid = start_daemon(hostd, "hostd");
	const char *wrong = daemon_is_alone(hostd, pid);

	kill(pid, SIGKILL);
	unlink(path_of("hostd"));
	return wrong;
}

/* What the last one left behind is no hindrance, but somebody's file is. */
static const char *names_that_are_taken(const char *hostd)
{
	struct winapi *handle = NULL;
	struct stat there;
	pid_t pid;

	EXPECT(status_of(start_daemon(hostd, "file")) == 1);
	EXPECT(!stat(path_of("file"), &there) && S_ISREG(there.st_mode));
	EXPECT(status_of(start_daemon(hostd, "nowhere/hostd")) == 1);
	pid = start_daemon(hostd, "stream"); /* a socket that nobody serves any more */
	for (int i = 0; i < 3000 && winapi_open(&handle, uri_of("stream"), NULL); i++)
		usleep(10000);
	kill(pid, SIGTERM);
	EXPECT(handle && status_of(pid) == 0);
	winapi_close(handle);
	EXPECT(stat(path_of("stream"), &there));
	return NULL;
}

void user_mistakes(const char *hostd)
{
	static const char *const files[] = { "file", "stream", "talker" };

	if (!mkdtemp(folder))
		abort();
	uris();
	daemons();
	full_queue();
	private_hosts(hostd);
	options();
	report("a daemon that vanishes", daemon_vanishes(hostd));
	report("names that are taken", names_that_are_taken(hostd));
	for (unsigned int i = 0; i < 3; i++)
		unlink(path_of(files[i]));
	rmdir(folder);
}
