/* SPDX-License-Identifier: MIT */
/*
 * Reads from the stock hyperv_keyboard driver what the back-end types on its synthetic keyboard: proof that a
 * driver that isn't ours finds a working bus.
 */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <unistd.h>

#define MAX_INPUTS 8u

static unsigned int open_inputs(struct pollfd *inputs)
{
	DIR *folder = opendir("/dev/input");
	struct dirent *entry;
	unsigned int count = 0;

	while (folder && (entry = readdir(folder)) && count < MAX_INPUTS) {
		char path[300];

		if (strncmp(entry->d_name, "event", 5))
			continue;
		snprintf(path, sizeof(path), "/dev/input/%s", entry->d_name);
		inputs[count] = (struct pollfd){ open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), POLLIN, 0 };
		count += inputs[count].fd >= 0;
	}
	if (folder)
		closedir(folder);
	return count;
}

static bool bound(void)
{
	DIR *folder = opendir("/sys/bus/vmbus/drivers/hyperv_keyboard");
	struct dirent *entry;
	bool found = false;

	while (folder && (entry = readdir(folder)))
		found = found || strlen(entry->d_name) == 36;
	if (folder)
		closedir(folder);
	return found;
}

/* How far the word got with this event: each key goes down and up. */
static unsigned int follow(const struct input_event *event, unsigned int at)
{
	static const uint16_t word[] = { KEY_W, KEY_I, KEY_N, KEY_A, KEY_P, KEY_I };

	if (event->type != EV_KEY)
		return at;
	if (event->code == word[at / 2] && event->value == !(at % 2))
		return at + 1;
	return event->code == word[0] && event->value == 1;
}

int main(void)
{
	struct pollfd inputs[MAX_INPUTS];
	uint64_t end = now_ms() + PATIENCE_MS;
	unsigned int count, at = 0;

	while (!(count = open_inputs(inputs)) && now_ms() < end)
		usleep(50000);
	check(count > 0, "there is an input device");
	check(bound(), "hyperv_keyboard is bound to it");
	while (at < 12 && now_ms() < end && poll(inputs, count, 1000) >= 0) {
		struct input_event event;

		for (unsigned int i = 0; i < count; i++)
			while (at < 12 && read(inputs[i].fd, &event, sizeof(event)) == sizeof(event))
				at = follow(&event, at);
	}
	check(at == 12, "the keys of \"winapi\" arrive, down and up, in order");
	return finish();
}
