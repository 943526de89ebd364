/* SPDX-License-Identifier: MIT */
/* store_documents.h - documents of a store: one, and every one. */
#ifndef LX_STORE_STORE_DOCUMENTS_H
#define LX_STORE_STORE_DOCUMENTS_H

#include "store/store_impl.h"

/* The document in the object 'name'; LYNX_OK with '*document' NULL: there is none. */
lynx_status lx_document_read(lynx_store *store, const char *name, lynx_document **document,
                             lx_text text);

/* A name belongs to one model; what cannot be read may go. LYNX_ERR_STATE: it is another's. */
lynx_status lx_document_check_old(lynx_store *store, const lynx_document *document,
                                  lx_text text);

/* A document or, with 'document' NULL, an object that cannot be read as one, and why. False
 * ends the walk. */
typedef bool lx_document_visit(void *user, const char *object, const lynx_document *document,
                               lynx_status status);
lynx_status lx_store_documents(lynx_store *store, lx_document_visit *visit, void *user,
                               lx_text text);

#endif
