/* SPDX-License-Identifier: MIT */
/*
 * Who may open the driver's device. Wine takes an access list and never looks at it, so what the driver sets is judged
 * here, and must be right before users get a name for the device.
 */
#include "standin.h"

#include <string.h>

#define EVERYTHING 0x001f01ffu /* FILE_ALL_ACCESS */

/* S-1-5-18 and S-1-5-32-544. */
static const uint8_t local_system[] = { 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0 };
static const uint8_t administrators[] = { 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0 };

static PVOID device; /* the one that was made last */
static HANDLE handle; /* that may change its access list, or NULL */
static bool tight;

/* ---- The list ----------------------------------------------------------------------------------------- */

/* An entry: type, flags, 16-bit size, 32-bit mask, SID. */
static bool allows(const uint8_t *entry, const uint8_t *sid, size_t size)
{
	static const uint8_t head[] = { 0 /* allows */, 0 /* to this object */ };
	const uint32_t mask = EVERYTHING;
	uint16_t whole = (uint16_t)(8 + size);

	return !memcmp(entry, head, 2) && !memcmp(entry + 2, &whole, 2) && !memcmp(entry + 4, &mask, 4) &&
	       !memcmp(entry + 8, sid, size);
}

/* All for SYSTEM and administrators, and nothing for anybody else: two entries, in either order. */
static bool is_tight(const ACL *acl)
{
	const uint8_t *first = (const uint8_t *)(acl + 1), *second;
	uint16_t size;

	if (acl->AceCount != 2)
		return false;
	memcpy(&size, first + 2, sizeof(size));
	second = first + size;
	return (allows(first, local_system, sizeof(local_system)) &&
		allows(second, administrators, sizeof(administrators))) ||
	       (allows(first, administrators, sizeof(administrators)) &&
		allows(second, local_system, sizeof(local_system)));
}

static bool describes_tight(PVOID descriptor)
{
	BOOLEAN present = FALSE, defaulted = TRUE;
	ACL *acl = NULL;

	return !RtlGetDaclSecurityDescriptor(descriptor, &present, &acl, &defaulted) && present &&
	       !defaulted && acl && RtlValidAcl(acl) && is_tight(acl);
}

/* ---- What the driver does ----------------------------------------------------------------------------- */

void security_created(PVOID object, ULONG characteristics)
{
	device = object;
	handle = NULL;
	tight = false;
	if (!(characteristics & FILE_DEVICE_SECURE_OPEN))
		fault("a device without FILE_DEVICE_SECURE_OPEN, so names behind its own are anybody's");
}

void security_opened(PVOID object, ACCESS_MASK access, HANDLE opened)
{
	if (object == device && access & WRITE_DAC)
		handle = opened;
}

void security_set(HANDLE by, SECURITY_INFORMATION what, PVOID descriptor)
{
	if (!by || by != handle || !(what & DACL_SECURITY_INFORMATION)) {
		fault("ZwSetSecurityObject of other than the device's access list");
		return;
	}
	tight = describes_tight(descriptor);
	if (!tight)
		fault("an access list that isn't all for SYSTEM and administrators, nothing for others");
}

void security_named(void)
{
	if (!tight)
		fault("users get a name for a device that has no tight access list");
}
