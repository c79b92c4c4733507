# SPDX-License-Identifier: MIT
# Runs the suites of /suites/order, each with a back-end of its own, and looks after each at what it left.
. /lib.sh

# Of /proc/vmstat or /proc/meminfo. CPUs add what they counted once a second; refresh doesn't wait for that.
value() {
	sed -n "s/^$1:* *\([0-9]*\).*/\1/p" /proc/vmstat /proc/meminfo
}

refresh() {
	cat /proc/sys/vm/stat_refresh
}

# What the allocator holds ready for each CPU isn't counted as free.
available() {
	echo $(($(value MemAvailable) + $(awk '$1 == "count:" { n += $2 } END { print 4 * n }' /proc/zoneinfo)))
}

# The driver's mappings. vmallocinfo is read in pieces and finds its place again by counting: when a mapping goes
# meanwhile, one is missed, when one comes, one is told twice. So only what two readings agree on is believed.
mappings() {
	last=
	while count=$(grep -cE 'winapi|hv_vmbus|wc_' /proc/vmallocinfo); [ "$count" != "$last" ]; do last=$count; done
	echo $count
}

# Slab, vmalloc and what is available, in KiB, and mappings. What RCU and per-CPU caches hold back just after others'
# processes ended, and after this script's own, has a moment to come back.
memory() {
	echo 3 >/proc/sys/vm/drop_caches
	usleep 250000
	refresh
	echo $(value SUnreclaim) $(value VmallocUsed) $(available) $(mappings)
}

# back SLAB VMALLOC AVAILABLE MAPPINGS SLAB VMALLOC AVAILABLE MAPPINGS: before a suite, and now. Slab caches keep
# part-filled pages per CPU (a hundred caches, two CPUs), and vmalloc's kernel stacks are kept for the next process. A
# leak of a page or object for each call or buffer of a suite is far more.
back() {
	[ $(($5 - $1)) -le 1024 ] && [ $(($6 - $2)) -le 512 ] && [ $(($3 - $7)) -le 4096 ] && [ $8 -le $4 ]
}

# Where kmemleak is, freed memory is also kept back by KASAN, so that sizes say nothing; but then it can be asked.
leaks() {
	echo scan >/sys/kernel/debug/kmemleak
	sleep 6 # it reports nothing younger than 5 s
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak >/tmp/leaks
	echo clear >/sys/kernel/debug/kmemleak
	check "$1: kmemleak finds nothing" test ! -s /tmp/leaks || sed 's/^/# /' /tmp/leaks
}

# What is lost doesn't come back however long one waits. What is late does, and how late is printed; a CPU whose timer the
# emulation forgot can hold RCU up for seconds.
memory_left() {
	verdict="not ok"
	for try in $(seq 20); do
		now=$(memory)
		if back $before $now; then verdict=ok; break; fi
		echo "# not back at look $try: slab, vmalloc, available, mappings: $before -> $now"
		sleep 2
	done
	echo "$verdict - $1: slab, vmalloc and memory are back"
	echo "# slab, vmalloc, available in KiB, mappings: $before -> $now"
}

left() {
	if [ -e /sys/kernel/debug/kmemleak ]; then leaks $1; else memory_left $1; fi
	refresh
	acquired=$(value nr_foll_pin_acquired)
	released=$(value nr_foll_pin_released)
	if [ "$acquired" = "$released" ]; then
		echo "ok - $1: $acquired pages pinned, all released"
	else
		echo "not ok - $1: $acquired pages pinned, $released released"
	fi
}

# What blocks, when a suite takes too long; then the machine ends, as nothing after it would mean much.
watchdog() {
	trap 'kill $sleeper 2>/dev/null; exit' TERM
	sleep $1 &
	sleeper=$!
	wait $sleeper
	echo "not ok - no end within $1 s"
	echo 1 >/proc/sys/kernel/printk
	echo w >/proc/sysrq-trigger
	echo "=== dmesg"
	dmesg
	echo "=== hung"
	sleep 5
	vmport exit 9
}

suite() {
	. /suites/$1.sh
	dmesg -c >/dev/null
	watchdog $timeout &
	dog=$!
	start $backend
	if [ $driver = 1 ]; then ready; fi
	before=$(memory)
	sh /suites/$1
	status=$?
	kill $dog
	wait $dog
	[ $status = 0 ] || echo "not ok - the suite's script: status $status"
	start winapi-hostd --config '$D/hostd.conf'
	if [ $driver = 1 ]; then ready; fi
	left $1
	echo "=== dmesg"
	dmesg -c
}

echo "root:x:0:0::/:/bin/sh
tester:x:1000:1000::/tmp:/bin/sh" >/etc/passwd
echo "root:x:0:
tester:x:1000:
winapi:x:900:tester" >/etc/group
chmod 1777 /tmp
chmod 666 /dev/null
echo 4 >/proc/sys/vm/drop_caches # from now on without a word in the log
if [ -e /sys/kernel/debug/kmemleak ]; then echo clear >/sys/kernel/debug/kmemleak; fi
for each in $(cat /suites/order); do
	echo "=== suite $each"
	suite $each
	echo "=== end $each"
done
