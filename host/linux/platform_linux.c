/* SPDX-License-Identifier: MIT */
/* What the provider core asks of its platform, on Linux: see host/provider/platform.h. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../common/hot.h"
#include "../provider/platform.h"
#include "platform_linux.h"

/* ---- Memory ----------------------------------------------------------------------------------------- */

void *wp_alloc(size_t size)
{
	return calloc(1, size ? size : 1);
}

void wp_free(void *p)
{
	free(p);
}

/* ---- Locks: a futex word, 0 free, 1 held, 2 held and waited for ----------------------------------- */

static uint32_t *word(struct wp_lock *lock)
{
	return (uint32_t *)lock->opaque;
}

void wp_lock_init(struct wp_lock *lock)
{
	lock->opaque[0] = 0;
}

void wp_lock_destroy(struct wp_lock *lock)
{
	(void)lock;
}

static void lock_slowly(uint32_t *w)
{
	while (__atomic_exchange_n(w, 2, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, w, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
}

HOT_PATH void wp_lock(struct wp_lock *lock)
{
	uint32_t *w = word(lock), zero = 0;

	if (!__atomic_compare_exchange_n(w, &zero, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		lock_slowly(w);
}

HOT_PATH void wp_unlock(struct wp_lock *lock)
{
	uint32_t *w = word(lock);

	if (__atomic_exchange_n(w, 0, __ATOMIC_RELEASE) == 2)
		syscall(SYS_futex, w, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- Workers: started with the first piece of work, for the life of the process ------------------ */

#define MAX_WORKERS 4u

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct wp_work *first;
	struct wp_work **last;
	pthread_cond_t quiet;
	unsigned int idle;
	unsigned int started;
} pool = {
	PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, &pool.first, PTHREAD_COND_INITIALIZER, 0, 0
};

unsigned int platform_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned int)CPU_COUNT(&set);
}

bool platform_shares_one_cpu(pid_t peer)
{
	cpu_set_t ours, theirs;

	CPU_ZERO(&ours);
	if (sched_getaffinity(0, sizeof(ours), &ours))
		return true;
	if (peer > 0 && !sched_getaffinity(peer, sizeof(theirs), &theirs))
		CPU_OR(&ours, &ours, &theirs);
	return CPU_COUNT(&ours) < 2;
}

int platform_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
	pthread_attr_t attr;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	err = pthread_create(thread, &attr, run, argument);
	pthread_attr_destroy(&attr);
	return -err;
}

static void *work(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&pool.lock);
	for (;;) {
		struct wp_work *next = pool.first;

		if (!next) {
			if (++pool.idle == pool.started)
				pthread_cond_broadcast(&pool.quiet);
			pthread_cond_wait(&pool.more, &pool.lock);
			pool.idle--;
			continue;
		}
		pool.first = next->opaque[0];
		if (!pool.first)
			pool.last = &pool.first;
		pthread_mutex_unlock(&pool.lock);
		next->run(next);
		pthread_mutex_lock(&pool.lock);
	}
	return NULL;
}

/* One thread at least must exist once anything is queued: a second failure to start one is fatal. */
static void start_worker(void)
{
	unsigned int most = platform_cpus();
	pthread_t thread;

	if (pool.idle || pool.started >= (most < MAX_WORKERS ? most : MAX_WORKERS))
		return;
	pool.started++;
	if (!platform_thread(&thread, work, NULL)) {
		pthread_detach(thread);
		return;
	}
	pool.started--;
	if (!pool.started) {
		wp_log(WP_LOG_ERROR, "no thread for work can be started");
		abort();
	}
}

void wp_work_queue(struct wp_work *item)
{
	item->opaque[0] = NULL;
	pthread_mutex_lock(&pool.lock);
	*pool.last = item;
	pool.last = (struct wp_work **)&item->opaque[0];
	start_worker();
	pthread_cond_signal(&pool.more);
	pthread_mutex_unlock(&pool.lock);
}

void platform_wait_for_workers(void)
{
	pthread_mutex_lock(&pool.lock);
	while (pool.first || pool.idle < pool.started)
		pthread_cond_wait(&pool.quiet, &pool.lock);
	pthread_mutex_unlock(&pool.lock);
}
