// limit_splice: the physical limit of a proxy that splices. Usage: limit_splice LISTEN_PORT ORIGIN_PORT
//
// limit_copy with splice(2) through a pipe in place of the buffer: no byte enters user space. A pipe belongs to
// a direction only while bytes are in it, so that a few pipes of 1 MiB serve all connections. It costs more
// calls than a copy (in and out, and one more that says "empty", since a short splice does not), so it loses
// with small responses and wins with large ones.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

// end is one socket of a pair. pipe, while it is not NULL, holds len bytes on their way to this socket.
struct pipe { int r, w; struct pipe *next; };
struct end { int fd, readable, eof; struct end *peer; struct pipe *pipe; size_t len; };
struct pair { struct end client, origin; struct pair *next; };

static struct pipe *idle;
static struct pair *dead; // closed in this batch; a later event of the batch may still point to them
static int ep;

static struct pipe *take(void) {
    struct pipe *p = idle;
    int fd[2];
    if (p) return idle = p->next, p;
    if (pipe2(fd, O_NONBLOCK) || !(p = malloc(sizeof *p))) abort();
    fcntl(fd[0], F_SETPIPE_SZ, CHUNK); // refused beyond the user's quota: then 64 KiB have to do
    return p->r = fd[0], p->w = fd[1], p;
}

static void give(struct end *e) {
    if (e->pipe && e->len) close(e->pipe->r), close(e->pipe->w), free(e->pipe); // bytes of a dead pair
    else if (e->pipe) e->pipe->next = idle, idle = e->pipe;
    e->pipe = NULL;
}

static void kill_pair(struct end *e) {
    struct end *p = e->peer;
    struct pair *pair = (struct pair *)(e < p ? e : p);
    close(e->fd), close(p->fd), give(e), give(p);
    e->fd = p->fd = -1, pair->next = dead, dead = pair;
}

// pump moves bytes from src to dst until src is empty or dst is full.
static void pump(struct end *src, struct end *dst) {
    while (dst->len || src->readable) {
        if (!dst->len) {
            if (!dst->pipe) dst->pipe = take();
            ssize_t n = splice(src->fd, NULL, dst->pipe->w, NULL, CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
            if (n < 0 && errno != EAGAIN) { kill_pair(src); return; }
            if (n == 0) src->eof = 1, shutdown(dst->fd, SHUT_WR);
            if (n <= 0) { src->readable = 0; break; }
            dst->len = n;
        }
        ssize_t n = splice(dst->pipe->r, NULL, dst->fd, NULL, dst->len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (n < 0 && errno == EAGAIN) return; // full: its next edge says writable
        if (n <= 0) { kill_pair(src); return; }
        dst->len -= n;
    }
    give(dst);
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
    signal(SIGPIPE, SIG_IGN);
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
            if (ev[i].events & ~EPOLLOUT && !e->eof) e->readable = 1, pump(e, e->peer);
            if (e->fd >= 0 && ev[i].events & EPOLLOUT && (e->len || e->peer->readable)) pump(e->peer, e);
            if (e->fd >= 0 && e->eof && e->peer->eof && !e->len && !e->peer->len) kill_pair(e);
        }
        for (struct pair *p; (p = dead);) dead = p->next, free(p);
    }
}
