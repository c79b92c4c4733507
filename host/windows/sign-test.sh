#!/bin/sh
# SPDX-License-Identifier: MIT
# Test-signs a driver on Linux: sign-test.sh IN.sys OUT.sys [DIRECTORY]
# The key and certificate are made in DIRECTORY (./test-signing) the first time. The machine that loads the driver
# must trust the certificate and have test signing on: docs/windows.md, "Signing".
set -eu

[ $# -ge 2 ] || {
	sed -n '3,5s/^# //p' "$0" >&2
	exit 2
}
in=$1
out=$2
directory=${3:-test-signing}
key=$directory/winapi-test.key
certificate=$directory/winapi-test.pem

mkdir -p "$directory"
if [ ! -f "$key" ]; then
	(
		umask 077
		openssl req -x509 -newkey rsa:3072 -sha256 -nodes -days 365 -keyout "$key" -out "$certificate" \
			-subj "/CN=winapi test signing" -addext "basicConstraints=critical,CA:false" \
			-addext "keyUsage=critical,digitalSignature" -addext "extendedKeyUsage=codeSigning" 2>/dev/null
	)
	# As certutil on Windows takes it.
	openssl x509 -in "$certificate" -outform DER -out "$directory/winapi-test.cer"
	echo "made $certificate: have Windows trust $directory/winapi-test.cer"
fi
rm -f "$out"
osslsigncode sign -h sha256 -ph -certs "$certificate" -key "$key" -n "winapi_remoting (test)" -in "$in" -out "$out" >/dev/null
# A certificate that signs itself is its own authority.
osslsigncode verify -CAfile "$certificate" -in "$out" >/dev/null
echo "signed $out"
