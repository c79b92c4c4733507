/* SPDX-License-Identifier: MIT */
/*
 * Buffers that make no sense: in a call, to be allocated, registered, freed, mapped. Each must get its error, and
 * nothing may be lost by it. Against winapi-hostd.
 */
#include "guest.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RW (PROT_READ | PROT_WRITE)

static int fd;
static uint8_t *plain; /* 4 pages, the last not mapped */
static uint8_t *constant; /* a page that can't be written */

static void still_works(const char *after)
{
	check_error(echo(fd), 0, "an echo after %s", after);
}

/* ---- Buffers of a call --------------------------------------------------------------------------------- */

/* The driver's own word: what it lets pass, the host would refuse as well, but that comes as a status. */
static int with_ref(struct winapi_ioc_buffer_ref ref)
{
	const struct winapi_buffer_test_request request = { 0 };
	uint64_t result;
	struct winapi_ioc_call c = { .in = (uintptr_t)&request,
				     .out = (uintptr_t)&result,
				     .buffers = (uintptr_t)&ref,
				     .in_size = sizeof(request),
				     .out_capacity = sizeof(result),
				     .buffer_count = 1,
				     .timeout_ms = PATIENCE_MS,
				     .api = WINAPI_API_BUFFER_TEST,
				     .method = WINAPI_BUFFER_TEST_READ };
	int err = device(fd, WINAPI_IOC_CALL, &c);

	return err ? err : c.status ? -EREMOTEIO : 0;
}

#define REF_IS(wanted, what, ...) \
	check_error(with_ref((struct winapi_ioc_buffer_ref){ __VA_ARGS__ }), wanted, "a buffer: " what)

static void buffer_refs(void)
{
	struct winapi_ioc_alloc a, only_write;
	uint64_t memory = (uintptr_t)plain;
	int other = device_open(), err = 0;
	struct winapi_ioc_alloc others = { 0 };

	check_error(buffer_alloc(fd, 3 * PAGE, HOST_READS, &a), 0, "a buffer that the host reads");
	check_error(buffer_alloc(fd, PAGE, HOST_WRITES, &only_write), 0, "one that it writes");
	while (!err && others.id <= only_write.id) /* ids are each file's own: one that here nothing has */
		err = buffer_alloc(other, PAGE, HOST_READS, &others);
	check_error(err, 0, "buffers of another file");
	REF_IS(0, "all of it", .id = a.id, .access = 1, .length = 3 * PAGE);
	REF_IS(0, "its last byte", .id = a.id, .access = 1, .offset = 3 * PAGE - 1, .length = 1);
	REF_IS(-ERANGE, "a byte past the end", .id = a.id, .access = 1, .offset = 1, .length = 3 * PAGE);
	REF_IS(-ERANGE, "offset past the end", .id = a.id, .access = 1, .offset = 3 * PAGE + 1, .length = 1);
	REF_IS(-ERANGE, "the largest offset", .id = a.id, .access = 1, .offset = UINT64_MAX, .length = 1);
	REF_IS(-ERANGE, "offset and length that overflow", .id = a.id, .access = 1, .offset = UINT64_MAX - 15,
	       .length = 32);
	check(with_ref((struct winapi_ioc_buffer_ref){ .id = a.id, .access = 1, .length = UINT64_MAX }) < 0,
	      "a buffer: the largest length");
	REF_IS(-EINVAL, "no length", .id = a.id, .access = 1);
	REF_IS(-EINVAL, "no access", .id = a.id, .length = 1);
	REF_IS(-EINVAL, "unknown access", .id = a.id, .access = 4, .length = 1);
	REF_IS(-EINVAL, "all access bits", .id = a.id, .access = UINT32_MAX, .length = 1);
	REF_IS(-EACCES, "access that it isn't shared for", .id = a.id, .access = 3, .length = 1);
	REF_IS(-EACCES, "reads where the host may write", .id = only_write.id, .access = 1, .length = 1);
	REF_IS(-ENOENT, "an unknown id", .id = 0xdead, .access = 1, .length = 1);
	REF_IS(-ENOENT, "the largest id", .id = UINT32_MAX, .access = 1, .length = 1);
	REF_IS(-ENOENT, "an id of another file", .id = others.id, .access = 1, .length = 1);
	REF_IS(-EINVAL, "an offset into plain memory", .access = 1, .address = memory, .offset = 1,
	       .length = 1);
	REF_IS(-EFAULT, "NULL", .access = 1, .length = 1);
	REF_IS(-EFAULT, "the kernel's memory", .access = 1, .address = KERNEL_DIRECT, .length = PAGE);
	REF_IS(-EFAULT, "the kernel's text", .access = 1, .address = KERNEL_TEXT, .length = PAGE);
	REF_IS(-EFAULT, "no address", .access = 1, .address = NO_ADDRESS, .length = PAGE);
	REF_IS(-EFAULT, "memory that ends too soon", .access = 1, .address = memory, .length = 3 * PAGE + 1);
	check(with_ref((struct winapi_ioc_buffer_ref){
		      .access = 1, .address = UINT64_MAX - 4095, .length = 2 * PAGE }) < 0,
	      "a buffer: around the end of all addresses");
	REF_IS(-EFAULT, "writes where nothing can be written", .access = 3, .address = (uintptr_t)constant,
	       .length = PAGE);
	REF_IS(0, "reads there", .access = 1, .address = (uintptr_t)constant, .length = PAGE);
	REF_IS(-E2BIG, "more than 64 MiB", .access = 1, .address = memory, .length = (64ull << 20) + 1);
	check_error(buffer_free(fd, a.id), 0, "the first buffer is freed");
	REF_IS(-ENOENT, "an id of the past", .id = a.id, .access = 1, .length = 1);
	check_error(buffer_free(fd, only_write.id), 0, "and the second");
	close(other);
	still_works("bad buffers");
}

static void overlapping_buffers(void)
{
	const struct winapi_buffer_test_request request = { 0 };
	uint64_t results[8];
	struct winapi_ioc_buffer_ref refs[8];
	struct winapi_ioc_call c = { .in = (uintptr_t)&request,
				     .out = (uintptr_t)results,
				     .buffers = (uintptr_t)refs,
				     .in_size = sizeof(request),
				     .out_capacity = sizeof(results),
				     .buffer_count = 8,
				     .timeout_ms = PATIENCE_MS,
				     .api = WINAPI_API_BUFFER_TEST,
				     .method = WINAPI_BUFFER_TEST_READ };
	struct winapi_ioc_alloc a;
	bool same = true;

	for (unsigned int i = 0; i < 8; i++)
		refs[i] = (struct winapi_ioc_buffer_ref){ .access = 1,
							  .address = (uintptr_t)plain + i,
							  .length = PAGE };
	check_error(call(fd, &c), 0, "eight pieces of plain memory that overlap");
	check_error(buffer_alloc(fd, PAGE, HOST_READS, &a), 0, "a buffer");
	for (unsigned int i = 0; i < 8; i++)
		refs[i] = (struct winapi_ioc_buffer_ref){ .id = a.id, .access = 1, .length = PAGE };
	check_error(call(fd, &c), 0, "one buffer eight times");
	for (unsigned int i = 1; i < 8; i++)
		same = same && results[i] == results[0];
	check(same, "and each time it reads the same");
	check_error(buffer_free(fd, a.id), 0, "it is freed");
}

/* ---- ALLOC, REGISTER, FREE ----------------------------------------------------------------------------- */

static void allocs(void)
{
	struct winapi_ioc_info info = device_info(fd);
	struct winapi_ioc_alloc a;

	check_error(buffer_alloc(fd, 0, 1, &a), -EINVAL, "ALLOC of nothing");
	check_error(buffer_alloc(fd, info.max_buffer_size + 1, 1, &a), -E2BIG, "ALLOC of a byte too much");
	check_error(buffer_alloc(fd, UINT64_MAX, 1, &a), -E2BIG, "ALLOC of everything");
	check_error(buffer_alloc(fd, UINT64_MAX - PAGE + 2, 1, &a), -E2BIG,
		    "ALLOC that overflows when rounded");
	check_error(buffer_alloc(fd, PAGE, 0, &a), -EINVAL, "ALLOC without access");
	check_error(buffer_alloc(fd, PAGE, 4, &a), -EINVAL, "ALLOC with unknown access");
	check_error(buffer_alloc(fd, PAGE, UINT32_MAX, &a), -EINVAL, "ALLOC with all access bits");
	check_error(buffer_alloc(fd, 1, 3, &a), 0, "ALLOC of a byte");
	check(a.id && a.map_size == PAGE, "it has an id and a page");
	check_error(buffer_free(fd, a.id), 0, "and is freed");
}

static void registers(void)
{
	uint64_t max = device_info(fd).max_buffer_size;
	uint32_t id;

	check_error(buffer_register(fd, plain, 0, 1, &id), -EINVAL, "REGISTER of nothing");
	check_error(buffer_register(fd, plain, max + 1, 1, &id), -E2BIG, "REGISTER of a byte too much");
	check_error(buffer_register(fd, plain, UINT64_MAX, 1, &id), -EFAULT,
		    "REGISTER of everything and more");
	check_error(buffer_register(fd, plain, PAGE, 0, &id), -EINVAL, "REGISTER without access");
	check_error(buffer_register(fd, plain, PAGE, 4, &id), -EINVAL, "REGISTER with unknown access");
	check_error(buffer_register(fd, NULL, PAGE, 1, &id), -EFAULT, "REGISTER of NULL");
	check_error(buffer_register(fd, at(KERNEL_DIRECT), PAGE, 1, &id), -EFAULT,
		    "REGISTER of the kernel's");
	check_error(buffer_register(fd, at(KERNEL_TEXT), PAGE, 3, &id), -EFAULT, "REGISTER of its text");
	check_error(buffer_register(fd, at(NO_ADDRESS), PAGE, 1, &id), -EFAULT, "REGISTER of no address");
	check(buffer_register(fd, at(HIGHEST), 2 * PAGE, 1, &id) < 0,
	      "REGISTER around the end of all addresses");
	check_error(buffer_register(fd, plain + 3 * PAGE, PAGE, 1, &id), -EFAULT,
		    "REGISTER of what isn't mapped");
	check_error(buffer_register(fd, plain + 2 * PAGE, 2 * PAGE, 1, &id), -EFAULT,
		    "REGISTER of half of that");
	check_error(buffer_register(fd, constant, PAGE, 1, &id), -EFAULT,
		    "REGISTER of what can't be written");
	check_error(buffer_register(fd, plain + 5, 2 * PAGE, 3, &id), 0, "REGISTER at an odd address");
	check_error(buffer_free(fd, id), 0, "it is freed");
}

/* Memory that is no ordinary memory: an error or a buffer, but no harm. */
static void odd_memory(void)
{
	struct winapi_ioc_alloc a;
	uint8_t *ours = buffer_alloc_mapped(fd, 2 * PAGE, 3, &a);
	uint32_t id;
	int zero = open("/dev/zero", O_RDWR | O_CLOEXEC), err;
	void *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
	FILE *file = tmpfile();
	void *vdso = at(0);

	check(ours != NULL, "a buffer of the driver's, mapped");
	err = buffer_register(fd, ours, 2 * PAGE, 3, &id);
	check(!err || err == -EFAULT || err == -EOPNOTSUPP, "REGISTER of a buffer's own mapping: %d", err);
	if (!err)
		check_error(buffer_free(fd, id), 0, "it is freed");
	check_error(buffer_free(fd, a.id), 0, "so is the buffer");
	ours[0] = ours[PAGE] = 1;
	check(ours[0] == 1, "whose mapping stays");
	munmap(ours, a.map_size);
	check_error(buffer_register(fd, shared, PAGE, 3, &id), 0, "REGISTER of shared memory");
	check_error(buffer_free(fd, id), 0, "it is freed");
	munmap(shared, PAGE);
	close(zero);
	for (FILE *maps = fopen("/proc/self/maps", "r"); maps; fclose(maps), maps = NULL) {
		char text[512];

		while (fgets(text, sizeof(text), maps))
			if (strstr(text, "[vvar]"))
				vdso = at(strtoull(text, NULL, 16));
	}
	err = buffer_register(fd, vdso, PAGE, 1, &id);
	check(vdso && err == -EFAULT, "REGISTER of the kernel's page of times: %d", err);
	if (file && !ftruncate(fileno(file), PAGE)) {
		void *mapped = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);

		err = buffer_register(fd, mapped, 2 * PAGE, 3, &id);
		check(err == -EFAULT || err == -EOPNOTSUPP, "REGISTER past the end of a file: %d", err);
		munmap(mapped, 2 * PAGE);
		fclose(file);
	}
	still_works("odd memory");
}

static void frees(void)
{
	struct winapi_ioc_free f = { .id = 1, .reserved = 1 };
	struct winapi_ioc_alloc a, b;

	check_error(device(fd, WINAPI_IOC_FREE, &f), -EINVAL, "FREE with reserved set");
	check_error(buffer_free(fd, 0), -ENOENT, "FREE of id 0");
	check_error(buffer_free(fd, 0xdead), -ENOENT, "FREE of an unknown id");
	check_error(buffer_free(fd, UINT32_MAX), -ENOENT, "FREE of the largest id");
	check_error(buffer_alloc(fd, PAGE, 1, &a), 0, "a buffer");
	check_error(buffer_free(fd, a.id), 0, "FREE of it");
	check_error(buffer_free(fd, a.id), -ENOENT, "FREE of it again");
	check_error(buffer_alloc(fd, PAGE, 1, &b), 0, "another");
	check(b.id != a.id, "which hasn't the id of the first");
	check_error(buffer_free(fd, b.id), 0, "FREE of it");
}

/* ---- mmap ---------------------------------------------------------------------------------------------- */

static int map_error(uint64_t size, int protection, int flags, uint64_t offset)
{
	void *map = mmap(NULL, size, protection, flags, fd, (off_t)offset);

	if (map == MAP_FAILED)
		return -errno;
	munmap(map, size);
	return 0;
}

static void mappings(void)
{
	struct winapi_ioc_alloc a;
	uint64_t off;
	uint8_t *one, *two, *grown;

	check_error(buffer_alloc(fd, 3 * PAGE, 3, &a), 0, "a buffer of 3 pages");
	off = a.map_offset;
	check_error(map_error(a.map_size, RW, MAP_SHARED, off), 0, "mmap of it");
	check_error(map_error(PAGE, RW, MAP_SHARED, off), 0, "mmap of its first page");
	check_error(map_error(a.map_size + PAGE, RW, MAP_SHARED, off), -EINVAL, "mmap of a page more");
	check_error(map_error(1ull << 30, RW, MAP_SHARED, off), -EINVAL, "mmap of 1 GiB more");
	check(map_error(PAGE, RW, MAP_SHARED, off + a.map_size) < 0, "mmap of what is behind it");
	check_error(map_error(PAGE, RW, MAP_PRIVATE, off), -EINVAL, "mmap in private");
	check(map_error(PAGE, RW, MAP_SHARED, 1ull << 40) < 0, "mmap far off");
	check(map_error(PAGE, RW, MAP_SHARED, INT64_MAX & ~4095ull) < 0, "mmap at the largest offset");
	check(map_error(PAGE, RW, MAP_SHARED, off + 1) < 0, "mmap at an odd offset");
	check(map_error(PAGE, RW, MAP_SHARED, 0) < 0 || !off, "mmap at offset 0");
	check(map_error(0, RW, MAP_SHARED, off) < 0, "mmap of nothing");
	one = mmap(NULL, a.map_size, RW, MAP_SHARED, fd, (off_t)off);
	two = mmap(NULL, a.map_size, RW, MAP_SHARED, fd, (off_t)off);
	check(one != MAP_FAILED && two != MAP_FAILED, "mmap twice");
	one[2 * PAGE + 5] = 0x77;
	check(two[2 * PAGE + 5] == 0x77, "is the same memory");
	grown = mremap(two, a.map_size, 2 * a.map_size, MREMAP_MAYMOVE);
	check(grown == MAP_FAILED, "mremap to twice its size");
	munmap(one + PAGE, PAGE);
	check(one[2 * PAGE + 5] == 0x77, "munmap of a page in the middle leaves the rest");
	check_error(buffer_free(fd, a.id), 0, "the buffer is freed");
	two[0] = 1;
	check(one[0] == 1, "and the mappings keep the memory");
	check(map_error(PAGE, RW, MAP_SHARED, off) < 0, "mmap after that");
	munmap(one, PAGE);
	munmap(one + 2 * PAGE, PAGE);
	munmap(two, a.map_size);
}

static void nothing_left(void)
{
	check(!device_stats(fd).buffers && !device_stats(fd).buffer_bytes, "no buffer is left");
	close(fd);
	check(pins_settle(), "no page is left pinned");
}

int main(void)
{
	fd = device_await();
	plain = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	constant = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (plain == MAP_FAILED || constant == MAP_FAILED || munmap(plain + 3 * PAGE, PAGE))
		bail("no memory");
	buffer_refs();
	overlapping_buffers();
	allocs();
	registers();
	odd_memory();
	frees();
	mappings();
	nothing_left();
	return finish();
}
