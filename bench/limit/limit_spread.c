// limit_spread: what it costs the kernel that requests go to many connections. Usage: limit_spread LISTEN_PORT ORIGIN_PORT N
//
// One thread, one edge-triggered epoll, N connections to as many addresses of the origin. What one read of a client brings
// goes to the next of them that is free, and what one read of that brings goes back: nothing is parsed, so it is for
// requests and answers that fit into one read, and for clients that wait for an answer. A proxy that uses N servers
// in turn has to do as much. With 64, and with 1,000, it says what part of a proxy's cost is the kernel's.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

// end is a connection. peer is whom it is talking with: of an origin's connection nobody while it is free.
struct end { int fd, origin; struct end *peer, *next; };

static char buf[64 << 10];
static struct end *dead; // closed in this batch; a later event of the batch may still point to them
static int ep;

static struct end *add(int fd, int origin) {
    struct end *e = calloc(1, sizeof *e);
    struct epoll_event ev = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.ptr = e}};
    if (!e) abort();
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    e->fd = fd, e->origin = origin;
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    return e;
}

int main(int argc, char **argv) {
    if (argc != 4) return fprintf(stderr, "usage: %s LISTEN_PORT ORIGIN_PORT N\n", argv[0]), 2;
    struct sockaddr_in a = {AF_INET, htons(atoi(argv[1])), {htonl(INADDR_LOOPBACK)}, {0}}, o = a;
    struct epoll_event ev[512] = {{EPOLLIN | EPOLLET, {.ptr = NULL}}};
    int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), n = atoi(argv[3]), next = 0;
    struct end **origins = calloc(n, sizeof *origins);
    o.sin_port = htons(atoi(argv[2]));
    ep = epoll_create1(0);
    for (int i = 0; i < n; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        o.sin_addr.s_addr = htonl(127 << 24 | (1 + i / 250) << 8 | (1 + i % 250));
        if (connect(fd, (void *)&o, sizeof o)) return perror("connect"), 1;
        origins[i] = add(fd, 1);
    }
    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(l, (void *)&a, sizeof a) || listen(l, 4096)) return perror("listen"), 1;
    epoll_ctl(ep, EPOLL_CTL_ADD, l, ev);
    for (;;) {
        int events = epoll_wait(ep, ev, 512, -1);
        for (int i = 0; i < events; i++) {
            struct end *e = ev[i].data.ptr, *to;
            for (int fd; !e && (fd = accept4(l, NULL, NULL, SOCK_NONBLOCK)) >= 0;) add(fd, 0);
            if (!e || e->fd < 0 || !(ev[i].events & ~EPOLLOUT)) continue;
            ssize_t got = recv(e->fd, buf, sizeof buf, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0 && e->origin) return fprintf(stderr, "an origin's connection ended\n"), 1;
            if (got <= 0) { // the answer that may still come is for nobody, see below
                close(e->fd), e->fd = -1;
                if (!e->peer) e->next = dead, dead = e;
                continue;
            }
            if (!(to = e->peer)) {
                if (e->origin) return fprintf(stderr, "an answer to nothing\n"), 1;
                for (int k = 0; k < n && origins[next]->peer; k++) next = (next + 1) % n;
                if (origins[next]->peer) return fprintf(stderr, "more clients than connections\n"), 1;
                to = origins[next], next = (next + 1) % n;
                e->peer = to, to->peer = e;
            }
            if (to->fd >= 0 && send(to->fd, buf, got, MSG_NOSIGNAL | MSG_DONTWAIT) != got && e->origin == 0)
                return perror("send"), 1;
            if (!e->origin) continue;
            e->peer = to->peer = NULL;
            if (to->fd < 0) to->next = dead, dead = to;
        }
        for (struct end *e; (e = dead);) dead = e->next, free(e);
    }
}
