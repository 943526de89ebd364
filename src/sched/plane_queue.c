/* SPDX-License-Identifier: MIT */
#include "sched/plane_queue.h"

#include <stddef.h>

void lx_plane_queue_push(lx_plane_queue *queue, lx_queued *entry)
{
    lx_queued **tail = &queue->tails[entry->class_index];
    entry->next = NULL;
    entry->previous = *tail;
    if (*tail)
        (*tail)->next = entry;
    else
        queue->heads[entry->class_index] = entry;
    *tail = entry;
}

void lx_plane_queue_push_first(lx_plane_queue *queue, lx_queued *entry)
{
    lx_queued **head = &queue->heads[entry->class_index];
    entry->previous = NULL;
    entry->next = *head;
    if (*head)
        (*head)->previous = entry;
    else
        queue->tails[entry->class_index] = entry;
    *head = entry;
}

void lx_plane_queue_remove(lx_plane_queue *queue, lx_queued *entry)
{
    if (entry->previous)
        entry->previous->next = entry->next;
    else
        queue->heads[entry->class_index] = entry->next;
    if (entry->next)
        entry->next->previous = entry->previous;
    else
        queue->tails[entry->class_index] = entry->previous;
    entry->next = NULL;
    entry->previous = NULL;
}
