/* SPDX-License-Identifier: MIT */
/* store_documents.h - every document of a store. */
#ifndef LX_STORE_STORE_DOCUMENTS_H
#define LX_STORE_STORE_DOCUMENTS_H

#include "store/store_impl.h"

/* A document or, with 'document' NULL, an object that is none, and why. False ends the walk. */
typedef bool lx_document_visit(void *user, const char *object, const lynx_document *document,
                               const char *why);
lynx_status lx_store_documents(lynx_store *store, lx_document_visit *visit, void *user,
                               lx_text text);

#endif
