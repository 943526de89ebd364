/* SPDX-License-Identifier: MIT */
/* certificate.h - read certificates and keys; the rest is in lynx/keys.h. */
#ifndef LX_LINK_CERTIFICATE_H
#define LX_LINK_CERTIFICATE_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/bio.h>
#include <openssl/x509.h>

#include "lynx/keys.h"

/* The next certificate of a PEM text, yours to free; NULL when there is no more. */
X509 *lx_certificate_next(BIO *bio);

/* The private key of a PEM text, yours to free; NULL when there is none. */
EVP_PKEY *lx_certificate_key(const char *pem);

/* The first DNS name; false when there is none, or it is none of ours. */
bool lx_certificate_name(const X509 *certificate, char name[LYNX_KEYS_NAME_MAX]);

int64_t lx_certificate_seconds(const ASN1_TIME *when);

#endif
