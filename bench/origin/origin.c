/* The bench's origin: answers GET /SIZE (5B, 1KiB, 16KiB, 1MiB, any number with such a unit) with as many bytes, and
 * a POST with 5 bytes once its body has been read, on kept connections, one thread, edge-triggered epoll.
 *
 *     origin LISTEN_PORT
 *
 * It listens on every address of the loopback device, all of 127.0.0.0/8, so that it can be any number of servers.
 *
 * It shares a CPU with the load generator and does as little as it can, so that it is the proxy that runs short
 * and not what it waits for: a proxy that waits is charged for being woken. The response head is nginx's. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_BODY = 64 << 20, MAX_EVENTS = 512, IN = 16 << 10 };

struct conn {
	int fd;
	size_t in;          /* bytes in buf */
	size_t skip;        /* request body bytes still to be read */
	char head[512];     /* what is being sent: head, then body */
	size_t head_len, sent, body_len;
	char buf[IN + 1];
};

static char *body;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Writes what is left of the answer. 1: all of it is out, 0: the socket is full, -1: the client is gone. */
static int answer(struct conn *c)
{
	while (c->sent < c->head_len + c->body_len) {
		struct iovec v[2];
		int n = 0;
		size_t at = c->sent;
		if (at < c->head_len) {
			v[n++] = (struct iovec){c->head + at, c->head_len - at};
			at = c->head_len;
		}
		v[n++] = (struct iovec){body, c->head_len + c->body_len - at};
		struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
		ssize_t w = sendmsg(c->fd, &m, MSG_NOSIGNAL);
		if (w < 0)
			return errno == EAGAIN ? 0 : -1;
		c->sent += w;
	}
	c->head_len = c->body_len = c->sent = 0;
	return 1;
}

static size_t size_of(const char *path)
{
	char *unit;
	size_t n = strtoul(path, &unit, 10);
	if (!strncmp(unit, "KiB", 3))
		n <<= 10;
	else if (!strncmp(unit, "MiB", 3))
		n <<= 20;
	return n < MAX_BODY ? n : MAX_BODY;
}

/* Takes one request from the buffer and prepares its answer. 1: done, 0: more is needed, -1: not for us. */
static int request(struct conn *c)
{
	c->buf[c->in] = 0;
	char *end = strstr(c->buf, "\r\n\r\n");
	if (!end)
		return c->in == IN ? -1 : 0;
	*end = 0;
	size_t used = end + 4 - c->buf, size = 5;
	if (!strncmp(c->buf, "GET /", 5))
		size = size_of(c->buf + 5);
	char *length = strcasestr(c->buf, "\r\nContent-Length:");
	if (length)
		c->skip = strtoul(length + 17, NULL, 10);
	c->in -= used;
	memmove(c->buf, c->buf + used, c->in);
	c->body_len = size;
	c->head_len = snprintf(c->head, sizeof c->head,
		"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 08:40:53 GMT\r\n"
		"Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n"
		"Last-Modified: Sat, 21 Nov 2026 08:40:16 GMT\r\nConnection: keep-alive\r\nETag: \"6b0158f0-5\"\r\n"
		"Accept-Ranges: bytes\r\n\r\n", size);
	return 1;
}

/* Serves until nothing moves. 0: waiting, -1: to be closed. A short read empties the socket, unless hup says that
 * the end of the stream may lie behind the data. */
static int serve(struct conn *c, int hup)
{
	for (int drained = 0;;) {
		if (c->skip) {
			size_t n = c->skip < c->in ? c->skip : c->in;
			c->skip -= n;
			c->in -= n;
			memmove(c->buf, c->buf + n, c->in);
		}
		if (!c->skip) {
			int r = c->head_len ? 1 : c->in ? request(c) : 0;
			if (r < 0)
				return -1;
			if (r && c->skip)
				continue; /* the answer waits for the body */
			if (r) {
				if ((r = answer(c)) <= 0)
					return r;
				continue;
			}
		}
		if (drained)
			return 0;
		size_t room = IN - c->in;
		ssize_t n = recv(c->fd, c->buf + c->in, room, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return -1;
		if (n < 0)
			return 0;
		c->in += n;
		drained = (size_t)n < room && !hup;
	}
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s LISTEN_PORT\n", argv[0]);
		return 2;
	}
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	if (!(body = malloc(MAX_BODY)))
		die("malloc");
	for (int i = 0; i < MAX_BODY; i++)
		body[i] = "millrace"[i % 8];
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_ANY)};
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (setsockopt(listener, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo"))
		die("SO_BINDTODEVICE"); /* nobody but this machine is to reach it */
	if (bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 4096))
		die("listen");
	struct epoll_event e = {.events = EPOLLIN}, events[MAX_EVENTS];
	epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(poll, events, MAX_EVENTS, -1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c) {
				if (serve(c, events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) < 0) {
					close(c->fd);
					free(c);
				}
				continue;
			}
			for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
				if (!(c = calloc(1, sizeof *c)))
					die("calloc");
				c->fd = fd;
				e = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
				epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e);
			}
		}
	}
}
