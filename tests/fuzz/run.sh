#!/bin/sh
# SPDX-License-Identifier: MIT
# The corpus again, then new inputs for a while. Usage: run.sh FUZZER CORPUS SECONDS
set -u
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
echo 1..2
status=0
if "$1" -runs=0 -artifact_prefix="$new/" "$2" >"$new/log" 2>&1; then
	echo "ok 1 - the corpus"
else
	echo "not ok 1 - the corpus"
	sed 's/^/# /' "$new/log"
	status=1
fi
mkdir "$new/corpus"
if "$1" -seed=1 -max_total_time="$3" -max_len=4096 -timeout=10 -artifact_prefix="$new/" "$new/corpus" "$2" >"$new/log" 2>&1; then
	echo "ok 2 - new inputs: $(grep -o 'Done [0-9]* runs' "$new/log")"
else
	echo "not ok 2 - new inputs"
	tail -40 "$new/log" | sed 's/^/# /'
	for input in "$new"/crash-* "$new"/leak-* "$new"/timeout-*; do
		[ -f "$input" ] && echo "# input: $(base64 -w0 "$input")"
	done
	status=1
fi
exit $status
