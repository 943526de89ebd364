/* SPDX-License-Identifier: MIT */
/* tls_explain.h - why TLS failed, in a sentence that says what to do. */
#ifndef LX_LINK_TLS_EXPLAIN_H
#define LX_LINK_TLS_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "lynx/status.h"

/* Why this end refused the peer, beyond what OpenSSL checks itself. */
typedef enum lx_tls_refusal {
    LX_TLS_NO_REFUSAL,
    LX_TLS_NAMELESS,    /* its certificate has no DNS name of ours */
    LX_TLS_OTHER_NAME,  /* it is not the peer that was asked for */
    LX_TLS_NOT_ALLOWED, /* its name is not on the list */
    LX_TLS_CERTIFICATE, /* it has a certificate, this end a PSK */
    LX_TLS_UNKNOWN_ID   /* this end has no PSK of that id */
} lx_tls_refusal;

typedef struct lx_tls_trouble {
    bool is_psk, is_server;
    bool is_established; /* the handshake was over for this end */
    lx_tls_refusal refusal;
    const char *peer;     /* name or id that the peer gave; "" if none */
    const char *expected; /* name that was asked for; "" if none */
    const char *own;      /* name or id of this end */
    long verify_result;   /* of the peer's certificate, X509_V_* */
    unsigned long error;  /* first of OpenSSL's queue */
} lx_tls_trouble;

/* The status of a failure and its sentence. */
lynx_status lx_tls_explain(const lx_tls_trouble *trouble, char *text, size_t size);

#endif
