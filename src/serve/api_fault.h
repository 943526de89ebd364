/* SPDX-License-Identifier: MIT */
/* api_fault.h - why a request is not answered, as OpenAI's clients understand it. */
#ifndef LX_SERVE_API_FAULT_H
#define LX_SERVE_API_FAULT_H

/* 'http' is the status code. Texts are valid UTF-8 and terminated. */
typedef struct lx_api_fault {
    unsigned http;
    const char *type;  /* "invalid_request_error", ... */
    const char *code;  /* NULL: none */
    char param[96];    /* the member at fault; "": none */
    char message[512]; /* one sentence */
} lx_api_fault;

/* Fill in 'fault'; a message that is too long is cut at a character. */
void lx_api_fault_set(lx_api_fault *fault, unsigned http, const char *code, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));

#endif
