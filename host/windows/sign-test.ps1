# SPDX-License-Identifier: MIT
# Test-signs the driver and its catalog on Windows, from a prompt with the WDK's tools in its path:
#   powershell -ExecutionPolicy Bypass -File sign-test.ps1 -Package x64\Release\winapi_remoting
param([Parameter(Mandatory)][string]$Package)
$ErrorActionPreference = 'Stop'
$subject = 'CN=winapi test signing'

$certificate = Get-ChildItem Cert:\CurrentUser\My -CodeSigningCert | Where-Object Subject -eq $subject |
	Select-Object -First 1
if (-not $certificate) {
	$certificate = New-SelfSignedCertificate -Type CodeSigningCert -Subject $subject `
		-CertStoreLocation Cert:\CurrentUser\My -HashAlgorithm SHA256
	Export-Certificate -Cert $certificate -FilePath (Join-Path $Package 'winapi-test.cer') | Out-Null
}

function Invoke-Tool($tool, [string[]]$arguments) {
	& $tool @arguments
	if ($LASTEXITCODE) { throw "$tool failed: $LASTEXITCODE" }
}

$sign = 'sign', '/fd', 'SHA256', '/sha1', $certificate.Thumbprint
Invoke-Tool signtool ($sign + '/ph' + (Join-Path $Package 'winapi_remoting.sys'))
# The catalog covers the signed file, so it comes second.
Invoke-Tool inf2cat ("/driver:$Package", '/os:10_X64')
Invoke-Tool signtool ($sign + (Join-Path $Package 'winapi_remoting.cat'))
