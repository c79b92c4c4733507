#!/bin/sh
# SPDX-License-Identifier: MIT
# All C of the tree is as .clang-format has it. Usage: format_test.sh SOURCE_ROOT
set -eu

cd "$1"
count=0
failed=0
files=$(find bench common docs guest host include tests -name '*.[ch]' -not -name '*.mod.c' | sort)
for file in $files; do
	count=$((count + 1))
	if clang-format --dry-run -Werror "$file" 2>/dev/null; then
		echo "ok $count - $file"
	else
		echo "not ok $count - $file: run clang-format -i on it"
		failed=1
	fi
done
echo "1..$count"
exit $failed
