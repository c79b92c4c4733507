/* SPDX-License-Identifier: MIT */
/* The user-mode routines that the stand-in uses, beside ntddk.h, which windows.h can't be. */
#ifndef TESTS_WINE_WIN32_H
#define TESTS_WINE_WIN32_H

#include <ntddk.h>

#define WIN32_IMPORT __declspec(dllimport)

WIN32_IMPORT HANDLE NTAPI CreateThread(void *security, SIZE_T stack, ULONG(NTAPI *run)(void *),
				       void *argument, ULONG flags, ULONG *id);
WIN32_IMPORT HANDLE NTAPI CreateEventA(void *security, int manual, int set, const char *name);
WIN32_IMPORT int NTAPI CloseHandle(HANDLE handle);
WIN32_IMPORT NTSTATUS NTAPI NtCompareObjects(HANDLE first, HANDLE second);

#define WIN32_PROCESS_DUP_HANDLE 0x40u
#define WIN32_SAME_ACCESS 2u
#define WIN32_CURRENT_PROCESS ((HANDLE)(LONG_PTR)-1)
WIN32_IMPORT HANDLE NTAPI OpenProcess(ULONG access, int inherit, ULONG id);
WIN32_IMPORT int NTAPI DuplicateHandle(HANDLE from, HANDLE handle, HANDLE to, HANDLE *copy, ULONG access,
				       int inherit, ULONG options);

WIN32_IMPORT ULONG NTAPI TlsAlloc(void);
WIN32_IMPORT void *NTAPI TlsGetValue(ULONG slot);
WIN32_IMPORT int NTAPI TlsSetValue(ULONG slot, void *value);

#define WIN32_READ_WRITE 4u
#define WIN32_EXECUTE_READ 0x20u
WIN32_IMPORT int NTAPI VirtualProtect(void *at, SIZE_T size, ULONG protection, ULONG *old);

#define WIN32_MODULE_PIN_FROM_ADDRESS 5u
WIN32_IMPORT int NTAPI GetModuleHandleExA(ULONG flags, const void *address, void **module);

typedef LONG NTAPI win32_exception_handler(EXCEPTION_POINTERS *pointers);
WIN32_IMPORT void *NTAPI AddVectoredExceptionHandler(ULONG first, win32_exception_handler *handler);

#define WIN32_MODULE_LOADED 1u
struct win32_module {
	ULONG flags;
	const UNICODE_STRING *path;
	const UNICODE_STRING *name;
	PVOID base;
	ULONG size;
};
typedef VOID NTAPI win32_module_handler(ULONG reason, const struct win32_module *module, PVOID context);
WIN32_IMPORT NTSTATUS NTAPI LdrRegisterDllNotification(ULONG flags, win32_module_handler *handler,
						       void *context, void **cookie);

/* The kernel's, in ntifs.h, which mingw's other headers can't stand. */
WIN32_IMPORT NTSTATUS NTAPI ObOpenObjectByPointer(PVOID object, ULONG attributes, PACCESS_STATE state,
						  ACCESS_MASK access, POBJECT_TYPE type, KPROCESSOR_MODE mode,
						  PHANDLE handle);
WIN32_IMPORT NTSTATUS NTAPI ZwSetSecurityObject(HANDLE handle, SECURITY_INFORMATION what, PVOID descriptor);

WIN32_IMPORT NTSTATUS NTAPI RtlGetDaclSecurityDescriptor(PVOID descriptor, BOOLEAN *present, ACL **acl,
							 BOOLEAN *defaulted);
WIN32_IMPORT BOOLEAN NTAPI RtlValidAcl(ACL *acl);

#endif /* TESTS_WINE_WIN32_H */
