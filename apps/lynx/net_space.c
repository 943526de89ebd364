/* SPDX-License-Identifier: MIT */
#include "net_space.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "lynx/runtime.h"

const char net_space_address[] = "10.0.0.1";

enum {
    PACKET_BYTES = 66000,    /* the largest that segmentation offload makes, and a head */
    ETHERNET_BYTES = 14,     /* on the wire in front of each segment, as tc counts */
    QUEUE_MS = 8,            /* of the link: as deep as switches have it, ... */
    QUEUE_MOST = 4 << 20,    /* ... but not above so many bytes, ... */
    QUEUE_LEAST = 64 << 10,  /* ... nor below */
    OFFLOAD_FROM_MBPS = 500, /* below, every packet travels alone, as on a real wire */
    LOOK_NS = 50000000       /* how often an idle wire looks whether it should end */
};

typedef struct packet {
    struct packet *next;
    lynx_time_ns due;
    size_t size, wire_bytes;
    uint8_t bytes[PACKET_BYTES];
} packet;

/* One direction. */
typedef struct wire {
    net_space *space;
    pthread_t thread;
    bool is_running;
    int from, to;
    packet *first, *last, *spare;
    size_t queued;  /* bytes that the emulated link has not put out */
    packet *unsent; /* first packet that still counts in 'queued' */
    lynx_time_ns free_at;
} wire;

struct net_space {
    int namespaces[2], devices[2];
    double bytes_per_ns;
    lynx_time_ns delay_ns;
    size_t queue_bytes;
    wire wires[2];
    atomic_bool must_stop;
};

/* ---- making the namespaces ----------------------------------------------------------- */

static bool explain(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool explain(char *text, size_t size, const char *format, ...)
{
    char what[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    snprintf(text, size, "%s: %s", what, strerror(errno));
    return false;
}

static bool set_address(int control, const char *name, int request, const char *address)
{
    struct ifreq asked = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &in.sin_addr);
    snprintf(asked.ifr_name, sizeof(asked.ifr_name), "%s", name);
    memcpy(&asked.ifr_addr, &in, sizeof(in));
    return ioctl(control, (unsigned long)request, &asked) == 0;
}

static bool set_up(int control, const char *name)
{
    struct ifreq asked = {0};
    snprintf(asked.ifr_name, sizeof(asked.ifr_name), "%s", name);
    asked.ifr_flags = IFF_UP | IFF_RUNNING;
    return ioctl(control, SIOCSIFFLAGS, &asked) == 0;
}

static int open_device(bool has_offload, const char *address)
{
    struct ifreq asked = {.ifr_name = "lynx0"};
    const int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0)
        return -1;
    asked.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    const unsigned offload = has_offload ? TUN_F_CSUM | TUN_F_TSO4 : TUN_F_CSUM;
    const int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool is_good = ioctl(device, TUNSETIFF, &asked) == 0 &&
                         ioctl(device, TUNSETOFFLOAD, offload) == 0 &&
                         set_address(control, "lynx0", SIOCSIFADDR, address) &&
                         set_address(control, "lynx0", SIOCSIFNETMASK, "255.255.255.0") &&
                         set_up(control, "lynx0") && set_up(control, "lo");
    const int error = errno;
    close(control);
    if (is_good)
        return device;
    close(device);
    errno = error;
    return -1;
}

static bool make_namespace(net_space *s, int side, bool has_offload, char *text, size_t size)
{
    const bool is_private = geteuid() == 0;
    if (unshare(CLONE_NEWNET | (is_private || side > 0 ? 0 : CLONE_NEWUSER)) != 0)
        return explain(text, size,
                       "no network namespace of our own (root, or user namespaces)");
    s->namespaces[side] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    s->devices[side] = open_device(has_offload, side == 0 ? net_space_address : "10.0.0.2");
    if (s->namespaces[side] < 0 || s->devices[side] < 0)
        return explain(text, size, "no tunnel device in a namespace (/dev/net/tun)");
    return true;
}

net_space *net_space_open(double link_mbps, double rtt_ms, char *text, size_t text_size)
{
    net_space *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->bytes_per_ns = link_mbps / 8e3;
    s->delay_ns = (lynx_time_ns)(rtt_ms * 1e6 / 2);
    const double trip = s->bytes_per_ns * rtt_ms * 1e6;
    double queue = s->bytes_per_ns * QUEUE_MS * 1e6;
    queue = queue > QUEUE_MOST ? QUEUE_MOST : queue < QUEUE_LEAST ? QUEUE_LEAST : queue;
    s->queue_bytes = (size_t)(queue > trip ? queue : trip);
    for (int i = 0; i < 2; i++)
        s->namespaces[i] = s->devices[i] = -1;
    for (int i = 0; i < 2; i++)
        if (!make_namespace(s, i, link_mbps >= OFFLOAD_FROM_MBPS, text, text_size)) {
            net_space_close(s);
            return NULL;
        }
    return s;
}

bool net_space_enter(const net_space *space, int side)
{
    return setns(space->namespaces[side], CLONE_NEWNET) == 0;
}

/* ---- the wire ------------------------------------------------------------------------ */

/* Bytes that a packet takes on an Ethernet when the device has cut it in segments. */
static size_t wire_bytes_of(const packet *p)
{
    struct virtio_net_hdr head;
    memcpy(&head, p->bytes, sizeof(head));
    const uint8_t *ip = p->bytes + sizeof(head);
    const size_t size = p->size - sizeof(head);
    if (head.gso_type == VIRTIO_NET_HDR_GSO_NONE || head.gso_size == 0)
        return size + ETHERNET_BYTES;
    const size_t ip_bytes = (size_t)(ip[0] & 15) * 4;
    const size_t headers = ip_bytes + (size_t)(ip[ip_bytes + 12] >> 4) * 4;
    const size_t segments = (size - headers + head.gso_size - 1) / head.gso_size;
    return size + (segments - 1) * headers + segments * ETHERNET_BYTES;
}

static packet *take_packet(wire *w)
{
    packet *p = w->spare;
    if (!p)
        return malloc(sizeof(*p));
    w->spare = p->next;
    return p;
}

static void give_packet(wire *w, packet *p)
{
    p->next = w->spare;
    w->spare = p;
}

/* What the emulated link has put out by now waits in no queue any more. */
static void drain(wire *w, lynx_time_ns now)
{
    while (w->unsent && w->unsent->due - w->space->delay_ns <= now) {
        w->queued -= w->unsent->wire_bytes;
        w->unsent = w->unsent->next;
    }
}

static void append(wire *w, packet *p, lynx_time_ns now)
{
    if (w->free_at < now)
        w->free_at = now;
    w->free_at += (lynx_time_ns)((double)p->wire_bytes / w->space->bytes_per_ns);
    p->due = w->free_at + w->space->delay_ns;
    p->next = NULL;
    if (w->first)
        w->last->next = p;
    else
        w->first = p;
    w->last = p;
    w->queued += p->wire_bytes;
    if (!w->unsent)
        w->unsent = p;
}

/* False when there is nothing to read. */
static bool read_packet(wire *w)
{
    packet *p = take_packet(w);
    if (!p)
        return false;
    const ssize_t size = read(w->from, p->bytes, sizeof(p->bytes));
    if (size <= (ssize_t)sizeof(struct virtio_net_hdr) + 40) {
        give_packet(w, p);
        return size > 0;
    }
    const lynx_time_ns now = lynx_clock_now();
    p->size = (size_t)size;
    p->wire_bytes = wire_bytes_of(p);
    drain(w, now);
    if (w->queued + p->wire_bytes > w->space->queue_bytes)
        give_packet(w, p); /* the tail drops */
    else
        append(w, p, now);
    return true;
}

static void write_due(wire *w)
{
    const lynx_time_ns now = lynx_clock_now();
    drain(w, now);
    while (w->first && w->first->due <= now) {
        packet *p = w->first;
        w->first = p->next;
        (void)!write(w->to, p->bytes, p->size);
        give_packet(w, p);
    }
}

static void *run_wire(void *user)
{
    wire *w = user;
    (void)prctl(PR_SET_TIMERSLACK, 1000ul);
    while (!atomic_load(&w->space->must_stop)) {
        write_due(w);
        while (read_packet(w))
            write_due(w);
        const lynx_time_ns now = lynx_clock_now();
        const uint64_t left = !w->first             ? LOOK_NS
                              : w->first->due > now ? w->first->due - now
                                                    : 0;
        struct pollfd poll_in = {.fd = w->from, .events = POLLIN};
        const struct timespec wait = {0, (long)(left < LOOK_NS ? left : LOOK_NS)};
        (void)ppoll(&poll_in, 1, &wait, NULL);
    }
    return NULL;
}

static void free_packets(packet *p)
{
    while (p) {
        packet *next = p->next;
        free(p);
        p = next;
    }
}

bool net_space_run(net_space *space)
{
    for (int i = 0; i < 2; i++) {
        wire *w = &space->wires[i];
        *w = (wire){.space = space, .from = space->devices[i], .to = space->devices[1 - i]};
        w->is_running = pthread_create(&w->thread, NULL, run_wire, w) == 0;
        if (!w->is_running)
            return false;
    }
    return true;
}

void net_space_close(net_space *space)
{
    if (!space)
        return;
    atomic_store(&space->must_stop, true);
    for (int i = 0; i < 2; i++) {
        if (space->wires[i].is_running)
            pthread_join(space->wires[i].thread, NULL);
        free_packets(space->wires[i].first);
        free_packets(space->wires[i].spare);
    }
    for (int i = 0; i < 2; i++) {
        if (space->devices[i] >= 0)
            close(space->devices[i]);
        if (space->namespaces[i] >= 0)
            close(space->namespaces[i]);
    }
    free(space);
}
