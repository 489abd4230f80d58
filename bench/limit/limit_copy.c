// limit_copy: the physical limit of a proxy that copies. Usage: limit_copy LISTEN_PORT ORIGIN_PORT
//
// One thread, one edge-triggered epoll. Each client connection gets one connection to the origin and bytes go
// between the two through one 64 KiB buffer. Nothing is parsed, logged, timed or limited, so whatever a proxy
// costs above this is the price of its features. A read that comes back short has emptied the socket (epoll(7)),
// so a small request costs four socket calls: recv, send, recv, send.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// end is one socket of a pair. rest holds what could not be sent to it at once.
struct end { int fd, readable, hup, eof; struct end *peer; char *rest; size_t off, len; };
struct pair { struct end client, origin; struct pair *next; };

static char buf[64 << 10];
static struct pair *dead; // closed in this batch; a later event of the batch may still point to them
static int ep;

static void kill_pair(struct end *e) {
    struct end *p = e->peer;
    struct pair *pair = (struct pair *)(e < p ? e : p);
    close(e->fd), close(p->fd), free(e->rest), free(p->rest);
    e->fd = p->fd = -1, pair->next = dead, dead = pair;
}

// pump moves bytes from src to dst until src is empty or dst is full.
static void pump(struct end *src, struct end *dst) {
    while (dst->len || src->readable) {
        char *from = dst->rest + dst->off;
        ssize_t n = dst->len, sent;
        if (!n) {
            n = recv(src->fd, from = buf, sizeof buf, 0);
            if (n < 0 && errno == EAGAIN) { src->readable = 0; return; }
            if (n < 0) { kill_pair(src); return; }
            if (n == 0) { src->readable = 0, src->eof = 1; shutdown(dst->fd, SHUT_WR); return; }
            // After a hang-up there is no further edge: only the read that returns 0 ends it.
            if ((size_t)n < sizeof buf && !src->hup) src->readable = 0;
        }
        sent = send(dst->fd, from, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) { kill_pair(src); return; }
        if (sent < 0) sent = 0;
        if (sent < n && from == buf) {
            if (!dst->rest && !(dst->rest = malloc(sizeof buf))) { kill_pair(src); return; }
            memcpy(dst->rest, buf + sent, n - sent), dst->off = 0, dst->len = n - sent;
        } else if (from != buf) dst->off += sent, dst->len -= sent;
        if (sent < n) return; // full: its next edge says writable
    }
}

static void add(struct end *e, struct end *peer, int fd) {
    struct epoll_event ev = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = e}};
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    e->fd = fd, e->peer = peer;
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: %s LISTEN_PORT ORIGIN_PORT\n", argv[0]), 2;
    struct sockaddr_in a = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}, {0}}, o = a;
    struct epoll_event ev[512] = {{EPOLLIN | EPOLLET, {.ptr = NULL}}};
    int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    o.sin_port = htons(atoi(argv[2]));
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(l, (void *)&a, sizeof a) || listen(l, 4096)) return perror("listen"), 1;
    ep = epoll_create1(0), epoll_ctl(ep, EPOLL_CTL_ADD, l, ev);
    for (;;) {
        int n = epoll_wait(ep, ev, 512, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = ev[i].data.ptr;
            for (int fd; !e && (fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
                struct pair *p = calloc(1, sizeof *p);
                int out = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
                if (!p || out < 0 || (connect(out, (void *)&o, sizeof o) && errno != EINPROGRESS)) abort();
                add(&p->client, &p->origin, fd), add(&p->origin, &p->client, out);
            }
            if (!e || e->fd < 0) continue;
            if (ev[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) e->hup = 1;
            if (ev[i].events & ~EPOLLOUT && !e->eof) e->readable = 1, pump(e, e->peer);
            if (e->fd >= 0 && ev[i].events & EPOLLOUT && (e->len || e->peer->readable)) pump(e->peer, e);
            if (e->fd >= 0 && e->eof && e->peer->eof && !e->len && !e->peer->len) kill_pair(e);
        }
        for (struct pair *p; (p = dead);) dead = p->next, free(p);
    }
}
