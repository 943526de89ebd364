/* SPDX-License-Identifier: MIT */
/*
 * messages.h - the payload of each message, both directions; docs/format.md, chapter Messages.
 *
 * Encoders write through a cursor (which tells when the room ran out); decoders check every
 * field against its legal values and that the payload ends where the fields end, and return
 * LYNX_ERR_PROTOCOL otherwise. Views in decoded messages point into the payload.
 */
#ifndef LX_WIRE_MESSAGES_H
#define LX_WIRE_MESSAGES_H

#include "base/cursor.h"
#include "lynx/codec.h"
#include "lynx/engine.h"
#include "lynx/memory.h"
#include "lynx/status.h"

enum {
    LX_TEXT_BYTES_MAX = 512,
    LX_HELLO_FIXED_BYTES = 96, /* before the model's name */
    LX_HELLO_BYTES_MAX = LX_HELLO_FIXED_BYTES + LX_TEXT_BYTES_MAX,
    LX_REQUEST_FIXED_BYTES = 92, /* before the tokens */
    LX_PAGE_FIXED_BYTES = 32,    /* before the plane's bytes */
    LX_PAGE_CHUNK_BYTES_MAX = 1 << 20,
    LX_PROGRESS_BYTES = 4,
    LX_TOKEN_BYTES = 8,          /* without logprobs */
    LX_TOKEN_LOGPROBS_BYTES = 4, /* behind it, before the tokens at the top */
    LX_TOKEN_TOP_BYTES = 8,      /* each of them */
    LX_TOKEN_BYTES_MAX =
        LX_TOKEN_BYTES + LX_TOKEN_LOGPROBS_BYTES + LX_TOKEN_TOP_BYTES * LYNX_TOP_LOGPROBS_MAX,
    LX_OPTIONS_FIXED_BYTES = 16, /* before biases and the set of tokens */
    LX_OPTIONS_BIAS_BYTES = 8,
    LX_OPTIONS_ALLOWED_BYTES_MAX = 1 << 17,
    LX_OPTIONS_BYTES_MAX = LX_OPTIONS_FIXED_BYTES + LX_OPTIONS_BIAS_BYTES * LYNX_BIASES_MAX +
                           LX_OPTIONS_ALLOWED_BYTES_MAX,
    LX_OPTIONS_LOGPROBS = 1, /* flag: tokens come with their logprobs */
    LX_YIELD_BYTES = 4,
    LX_ACCEPT_BYTES = 4, /* of a request with HELD; else 0 */
    LX_HELD_BYTES = 64,
    LX_REASON_FIXED_BYTES = 8, /* before the text */
    LX_REASON_BYTES_MAX = LX_REASON_FIXED_BYTES + LX_TEXT_BYTES_MAX,
    LX_CONTROL_BYTES_MAX = 65536, /* of control messages in one write */
    LX_FLOW_BYTES = 24,
    LX_RESUME_FIXED_BYTES = 8,  /* before the entries */
    LX_RESUME_ENTRY_BYTES = 40, /* before the bitmap */
    LX_RESUME_STARTED = 1,      /* flags of an entry: START was sent */
    LX_RESUME_ASKED = 2,        /* ACCEPT has not come yet; REQUEST follows */
    LX_ACK_ENTRY_BYTES = 8,     /* of ACK and AGAIN */
    LX_ACK_ENTRIES_MAX = 256,
    LX_SHAPE_BYTES = 52, /* of one layer, in the digest of HELLO */
    LX_SPEC_BYTES = 28,  /* of a codec's specification */
    /* The LYNX_REQUEST_... of lynx/session.h; checked there. */
    LX_REQUEST_FLAGS_KNOWN = 31,
    LX_REQUEST_CARRY_ON = 16,
    LX_REQUEST_NOT_CARRIED = 5 /* flags that do not go with it: hold, no pages */
};

typedef struct lx_hello {
    uint8_t role; /* 0 sender, 1 receiver */
    uint8_t element;
    uint8_t version_minor; /* of the peer; any value is legal */
    uint8_t lane;          /* of the session; 0 from a sender */
    uint32_t page_tokens;
    uint32_t layer_count;
    uint8_t shape_digest[16]; /* a chain over lx_shape_encode */
    lynx_fingerprint fingerprint;
    uint8_t session[LYNX_ID_BYTES]; /* zero from a sender */
    lynx_bytes model_name;
} lx_hello;

typedef struct lx_request_message {
    lynx_codec_spec spec;
    lynx_sampling sampling;
    uint32_t flags;
    uint32_t answer_tokens;
    uint32_t token_count;
    uint8_t ticket[LYNX_ID_BYTES];
    lynx_bytes tokens; /* 4 bytes each, little endian; view of the payload */
} lx_request_message;

/* What a request asks for beyond its REQUEST. */
typedef struct lx_options_message {
    bool has_logprobs;
    uint32_t top_logprobs; /* 0 without logprobs */
    uint32_t bias_count;
    lynx_bytes biases;  /* 8 bytes each; view of the payload */
    lynx_bytes allowed; /* view of the payload; none: all tokens */
} lx_options_message;

/* Which pages of a request are here before it is made. */
typedef struct lx_held_message {
    uint32_t token_count;
    lynx_codec_spec spec; /* of the pages that are held */
    uint8_t name[LYNX_NAME_BYTES];
} lx_held_message;

typedef struct lx_reason {
    int32_t status;
    lynx_bytes text;
} lx_reason;

typedef struct lx_token_message {
    uint32_t index;
    int32_t token;
    bool has_logprobs;
    lynx_logprobs logprobs;
} lx_token_message;

typedef struct lx_page_message {
    lynx_page_id page;
    uint8_t plane;
    uint32_t plane_bytes; /* of the whole plane */
    uint32_t offset;      /* of this chunk */
    uint64_t plane_digest;
} lx_page_message;

typedef struct lx_ack_entry {
    lynx_page_id page;
    uint8_t plane;
} lx_ack_entry;

/* One live request of a session that goes on over a new connection. */
typedef struct lx_resume_entry {
    uint64_t request_id;
    uint8_t ticket[LYNX_ID_BYTES];
    uint32_t next_token; /* index of the answer's token that is wanted next */
    uint32_t flags;      /* LX_RESUME_... */
    lynx_bytes held;     /* bit 'slot * planes + plane', least significant first */
} lx_resume_entry;

typedef struct lx_flow_message {
    uint64_t received;  /* bytes of this connection that came, framing included */
    uint64_t limits[2]; /* plane bytes that may be begun on it: anchors, residuals */
} lx_flow_message;

/* Bytes that stand for a layer in the digest of HELLO. */
void lx_shape_encode(const lynx_shape *shape, uint32_t layer, uint8_t bytes[LX_SHAPE_BYTES]);

/* The inverse. Whether the fields fit together is lynx_shape_check()'s affair. */
lynx_status lx_shape_decode(lx_reader *reader, lynx_layer_shape *layer);

/* The 28 bytes of a codec's specification, in REQUEST and in stored headers. Whether the fields
 * fit together is lynx_codec_spec_check()'s affair. */
void lx_spec_encode(lx_writer *writer, const lynx_codec_spec *spec);
lynx_status lx_spec_decode(lx_reader *reader, lynx_codec_spec *spec);

void lx_hello_encode(lx_writer *writer, const lx_hello *hello);
lynx_status lx_hello_decode(lynx_bytes payload, lx_hello *hello);

/* All flags are known, and may stand together. */
bool lx_request_flags_agree(uint32_t flags);

void lx_request_encode(lx_writer *writer, const lx_request_message *request);
lynx_status lx_request_decode(lynx_bytes payload, lx_request_message *request);

/* 'biases' and 'allowed' of the message are not looked at by encode: they are those of
 * 'sampling'. Biases are told as they are: the sampling's check is the caller's. */
void lx_options_encode(lx_writer *writer, const lx_options_message *options,
                       const lynx_sampling *sampling);
lynx_status lx_options_decode(lynx_bytes payload, lx_options_message *options);
/* Read the biases of a decoded message into 'biases', 'bias_count' of them. */
void lx_options_read_biases(const lx_options_message *options, lynx_bias *biases);

/* Whether number and specification fit the request is the caller's affair. */
void lx_held_encode(lx_writer *writer, const lx_held_message *held);
lynx_status lx_held_decode(lynx_bytes payload, lx_held_message *held);

/* ACCEPT of a request with HELD: tokens whose pages are left out. */
void lx_accept_encode(lx_writer *writer, uint32_t left_out);
/* 0 when it says none. */
lynx_status lx_accept_decode(lynx_bytes payload, uint32_t *left_out);

/* REFUSE and CLOSE. */
void lx_reason_encode(lx_writer *writer, const lx_reason *reason);
lynx_status lx_reason_decode(lynx_bytes payload, lx_reason *reason);

/* PROGRESS: prefilled tokens. */
void lx_progress_encode(lx_writer *writer, uint32_t done);
lynx_status lx_progress_decode(lynx_bytes payload, uint32_t *done);

void lx_token_encode(lx_writer *writer, const lx_token_message *token);
lynx_status lx_token_decode(lynx_bytes payload, lx_token_message *token);

/* YIELD: tokens that were chosen in all. */
void lx_yield_encode(lx_writer *writer, uint32_t token_count);
lynx_status lx_yield_decode(lynx_bytes payload, uint32_t *token_count);

/* RESUME is a count, a serial number that rises with each RESUME of a session, and so many
 * entries. */
void lx_resume_encode_count(lx_writer *writer, uint32_t count, uint32_t serial);
void lx_resume_encode_entry(lx_writer *writer, const lx_resume_entry *entry);
lynx_status lx_resume_decode_count(lx_reader *reader, uint32_t *count, uint32_t *serial);
lynx_status lx_resume_decode_entry(lx_reader *reader, lx_resume_entry *entry);

void lx_flow_encode(lx_writer *writer, const lx_flow_message *flow);
lynx_status lx_flow_decode(lynx_bytes payload, lx_flow_message *flow);

/* The fixed part of PAGE. */
void lx_page_encode_header(lx_writer *writer, const lx_page_message *page);
lynx_status lx_page_decode_header(const uint8_t bytes[LX_PAGE_FIXED_BYTES],
                                  lx_page_message *page);

void lx_ack_encode_entry(lx_writer *writer, const lx_ack_entry *entry);
lynx_status lx_ack_decode_entry(lx_reader *reader, lx_ack_entry *entry);

#endif
