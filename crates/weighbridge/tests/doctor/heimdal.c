/*
 * OpenSSH's client as Debian builds it is linked with MIT's libgssapi_krb5. This library has the
 * functions that it calls, under MIT's symbol version, and hands each call on to Heimdal's
 * libgssapi: so the same client makes its MICs with Heimdal. Both lay out names, buffers and object
 * identifiers alike (RFC 2744).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef unsigned int status;

static void *heimdal(const char *name)
{
	static void *library;
	void *function;

	if (!library)
		library = dlopen("libgssapi.so.3", RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	function = library ? dlsym(library, name) : NULL;
	if (!function) {
		fprintf(stderr, "%s: %s\n", name, dlerror());
		abort();
	}
	return function;
}

/* No function has more than 13 arguments, and each fits into a word. */
#define WORDS long a, long b, long c, long d, long e, long f, long g, long h, long i, long j, \
	long k, long l, long m
#define FORWARD(name) \
	status name(WORDS) \
	{ \
		return ((status (*)(WORDS))heimdal(#name))(a, b, c, d, e, f, g, h, i, j, k, l, m); \
	}

FORWARD(gss_acquire_cred)
FORWARD(gss_add_oid_set_member)
FORWARD(gss_compare_name)
FORWARD(gss_create_empty_oid_set)
FORWARD(gss_delete_sec_context)
FORWARD(gss_display_status)
FORWARD(gss_get_mic)
FORWARD(gss_import_name)
FORWARD(gss_indicate_mechs)
FORWARD(gss_init_sec_context)
FORWARD(gss_inquire_cred)
FORWARD(gss_release_buffer)
FORWARD(gss_release_cred)
FORWARD(gss_release_name)
FORWARD(gss_release_oid_set)
FORWARD(gss_verify_mic)

struct oid {
	unsigned int length;
	const char *elements;
};

static struct oid user_name = { 10, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x01" };
static struct oid hostbased_service = { 10, "\x2a\x86\x48\x86\xf7\x12\x01\x02\x01\x04" };

struct oid *GSS_C_NT_USER_NAME = &user_name;
struct oid *GSS_C_NT_HOSTBASED_SERVICE = &hostbased_service;
