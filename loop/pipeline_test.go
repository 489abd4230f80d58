package loop

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A client that pipelines requests with large bodies leaves the beginning of the next request behind the end of
// the body that is being read. That has to go to the front of the session's buffer, over what is not needed any more:
// behind it, the buffer would grow with each request that ends in the middle of a read, and the next read, which
// fills what room there is, would make it grow again, beyond the largest there is.
func TestPipelinedUploadsDoNotMakeTheBufferGrow(t *testing.T) {
	for _, head := range []struct {
		name    string
		lines   int // of padding, 1 KiB each
		largest int // buffer that is needed
	}{
		{"small heads", 0, headRoom + relayRead + tailRoom},
		// Half a read's length, so that many a read ends in the middle of one.
		{"large heads", 28, 256 << 10},
	} {
		for _, form := range []framing{byChunks, byLength} {
			t.Run(fmt.Sprintf("%s, %s", head.name, form), func(t *testing.T) {
				const requests = 64
				tr := newTrace(t)
				o := tr.origin()
				o.serveEach(func(r *http.Request, body []byte) string { return ok(fmt.Sprint(r.RequestURI, " ", len(body))) })
				p := tr.proxy(setup{}, o)
				padding := strings.Repeat("X-Padding: "+strings.Repeat("p", 1011)+"\r\n", head.lines)
				// Bodies of a few reads, and not of a multiple of them, so that the reads end everywhere.
				size := func(i int) int { return 150_000 + 9_973*(i%17) }
				var all strings.Builder
				for i := range requests {
					body := letters(size(i))
					fields := fmt.Sprintf("Content-Length: %d\r\n", len(body))
					if form == byChunks {
						fields, body = "Transfer-Encoding: chunked\r\n", chunks(body)+"0\r\n\r\n"
					}
					fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: a\r\n%s%s\r\n%s", i, padding, fields, body)
				}
				c := p.dial()
				// What fits into the sockets is there before the first read.
				release := p.hold()
				sent := tr.beside("client", func() error { _, err := c.Write([]byte(all.String())); return err })
				tr.eventually("the client does not send", func() bool { return c.unacknowledged() > relayRead })
				release()
				for i := range requests {
					c.want(http.StatusOK, fmt.Sprintf("/%d %d", i, size(i)))
				}
				sent()
				p.onLoops(func(l *Loop) {
					for class, capacity := range bufferSizes {
						if n := len(l.bufs.free[class]); n > 0 && capacity > head.largest {
							t.Errorf("%d buffers of %d were taken, want none above %d", n, capacity, head.largest)
						}
					}
				})
			})
		}
	}
}

// unacknowledged is how many bytes the kernel has taken and the other side's has not confirmed, or for want of room
// not been sent.
func (c *peer) unacknowledged() int {
	c.tr.Helper()
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		c.tr.Fatal(err)
	}
	n := 0
	if err := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) }); err != nil {
		c.tr.Fatal(err)
	}
	return n
}
