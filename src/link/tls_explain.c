/* SPDX-License-Identifier: MIT */
#include "link/tls_explain.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "link/explain.h"

static lynx_status refused(const lx_tls_trouble *t, char *text, size_t size)
{
    switch (t->refusal) {
    case LX_TLS_NO_REFUSAL:
        break;
    case LX_TLS_NAMELESS:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer's certificate has no DNS name; make one by 'lynx keys node "
                          "NAME'");
    case LX_TLS_OTHER_NAME:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer is '%s', not '%s'; is the address right? --peer-name says "
                          "who must be there",
                          t->peer, t->expected);
    case LX_TLS_NOT_ALLOWED:
        return lx_explain(
            text, size, LYNX_ERR_DENIED,
            "the peer '%s' is not on this node's list; add --allow-node %s to let "
            "it in",
            t->peer, t->peer);
    case LX_TLS_CERTIFICATE:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer works with certificates and this end with a PSK; give both "
                          "--keys or both --psk");
    case LX_TLS_UNKNOWN_ID:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer offers the PSK id '%s', which this end does not have; give "
                          "both ends the same PSK file",
                          t->peer);
    }
    return LYNX_OK;
}

/* What is wrong with the peer's certificate. */
static lynx_status unverified(const lx_tls_trouble *t, char *text, size_t size)
{
    const char *peer = t->peer[0] ? t->peer : "without a name";
    switch (t->verify_result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the certificate of the peer '%s' expired; renew it by 'lynx keys "
                          "rotate' and copy it to the peer",
                          peer);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the certificate of the peer '%s' is not valid yet; are both clocks "
                          "right?",
                          peer);
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the certificate of the peer '%s' is of another authority than those "
                          "in our ca.pem; make both ends' keys from one 'lynx keys init'",
                          peer);
    default:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the certificate of the peer '%s' is refused: %s; make a new one by "
                          "'lynx keys node'",
                          peer, X509_verify_cert_error_string(t->verify_result));
    }
}

/* The peer said why it ends. */
static lynx_status alerted(const lx_tls_trouble *t, int alert, char *text, size_t size)
{
    switch (alert) {
    case SSL_AD_UNKNOWN_CA:
        return lx_explain(
            text, size, LYNX_ERR_DENIED,
            "the peer does not know the authority of our certificate '%s'; make "
            "both ends' keys from one 'lynx keys init', or copy ca.pem to the peer",
            t->own);
    case SSL_AD_CERTIFICATE_EXPIRED:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "our certificate '%s' expired by the peer's clock; renew it by 'lynx "
                          "keys rotate'",
                          t->own);
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_ACCESS_DENIED:
        return lx_explain(
            text, size, LYNX_ERR_DENIED,
            "the peer refuses our certificate '%s' (%s); its own message says why; "
            "are we on its --allow-node list and are both clocks right?",
            t->own, SSL_alert_desc_string_long(alert));
    case TLS13_AD_CERTIFICATE_REQUIRED:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer wants a certificate and we have none; pass --keys");
    case SSL_AD_PROTOCOL_VERSION:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer does not speak TLS 1.3; does Lynx run there?");
    case SSL_AD_HANDSHAKE_FAILURE:
        if (t->is_psk)
            return lx_explain(text, size, LYNX_ERR_DENIED,
                              "the peer does not accept the PSK id '%s', or works with "
                              "certificates; give both ends the same PSK file",
                              t->own);
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer accepts no certificate; it works with a PSK, so pass its "
                          "file by --psk");
    case SSL_AD_ILLEGAL_PARAMETER:
    case SSL_AD_DECRYPT_ERROR:
        if (t->is_psk)
            return lx_explain(text, size, LYNX_ERR_DENIED,
                              "the peer has another secret under the PSK id '%s'; copy the PSK "
                              "file anew",
                              t->own);
        break;
    default:
        break;
    }
    return lx_explain(text, size, t->is_established ? LYNX_ERR_PROTOCOL : LYNX_ERR_DENIED,
                      "the peer ended TLS with the alert '%s'",
                      SSL_alert_desc_string_long(alert));
}

static lynx_status broken(const lx_tls_trouble *t, char *text, size_t size)
{
    switch (ERR_GET_REASON(t->error)) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return unverified(t, text, size);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer has no certificate; give it keys made by 'lynx keys node'");
    case SSL_R_BINDER_DOES_NOT_VERIFY:
        return lx_explain(
            text, size, LYNX_ERR_DENIED,
            "the peer has another secret under the PSK id '%s'; copy the PSK file "
            "anew",
            t->peer);
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_WRONG_SSL_VERSION:
    case SSL_R_VERSION_TOO_LOW:
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer does not speak TLS 1.3 (protocol version); only Lynx may "
                          "connect here");
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_LENGTH_TOO_SHORT:
        if (t->is_established)
            break;
        return lx_explain(text, size, LYNX_ERR_DENIED,
                          "the peer does not speak TLS but plaintext; give it --keys or --psk, "
                          "too");
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_CERTIFICATE_SET:
    case SSL_R_NO_SHARED_CIPHER:
        if (t->is_psk)
            return lx_explain(text, size, LYNX_ERR_DENIED,
                              "the peer offers no PSK and this end has no certificate; give "
                              "both --psk or both --keys");
        break;
    default:
        break;
    }
    if (t->is_established)
        return lx_explain(text, size, LYNX_ERR_PROTOCOL,
                          "the encrypted stream is broken (%s); did something between the ends "
                          "change it?",
                          ERR_reason_error_string(t->error));
    return lx_explain(text, size, LYNX_ERR_DENIED, "the TLS handshake failed: %s",
                      ERR_reason_error_string(t->error));
}

lynx_status lx_tls_explain(const lx_tls_trouble *t, char *text, size_t size)
{
    const int reason = ERR_GET_REASON(t->error);
    if (t->refusal != LX_TLS_NO_REFUSAL)
        return refused(t, text, size);
    if (reason >= SSL_AD_REASON_OFFSET)
        return alerted(t, reason - SSL_AD_REASON_OFFSET, text, size);
    return broken(t, text, size);
}
