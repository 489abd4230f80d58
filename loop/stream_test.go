package loop

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"testing"
)

// noise is n bytes that nobody could have made up.
func noise(seed byte, n int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{seed}), n)
}

// sum returns the checksum of all that r holds, and its length.
func sum(r io.Reader) (string, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return fmt.Sprintf("%d bytes, %x", n, h.Sum(nil)[:8]), err
}

// write sends a body in the given framing.
func (f framing) write(c *peer, body io.Reader) error {
	if f != byChunks {
		_, err := io.Copy(onlyWriter{c}, body)
		if f == untilClose && err == nil {
			c.closeWrite()
		}
		return err
	}
	// Many sizes of chunks, most of them not those of a read.
	w := httputil.NewChunkedWriter(c)
	if _, err := io.CopyBuffer(w, body, make([]byte, 50001)); err != nil {
		return err
	}
	w.Close()
	_, err := io.WriteString(c, "\r\n")
	return err
}

// onlyWriter keeps io.Copy from using splice.
type onlyWriter struct{ io.Writer }

func (f framing) fields(n int64) string {
	switch f {
	case byLength:
		return fmt.Sprintf("Content-Length: %d\r\n\r\n", n)
	case byChunks:
		return "Transfer-Encoding: chunked\r\n\r\n"
	}
	return "\r\n"
}

func TestLargeBodiesArriveUndamagedInBothDirections(t *testing.T) {
	const size = 32 << 20
	up, err := sum(noise(1, size))
	if err != nil {
		t.Fatal(err)
	}
	down, err := sum(noise(2, size))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range []framing{byLength, byChunks, untilClose} {
		for j, k := range clientKinds {
			request := byLength
			if k.chunks && i != 0 || i+j == 0 {
				request = byChunks
			}
			eachSplice(t, fmt.Sprintf("%s to %s that sends by %s", f, k.name, request), func(t *testing.T, splice int64) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{splice: splice}, o)
				c := p.dial()
				uploaded := tr.beside("client", func() error {
					if _, err := io.WriteString(c, "POST / "+k.version+"\r\nHost: a\r\n"+k.fields+request.fields(size)); err != nil {
						return err
					}
					return request.write(c, noise(1, size))
				})
				x := o.accept()
				r, err := http.ReadRequest(x.r)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := sum(r.Body); got != up || err != nil {
					t.Fatalf("the origin got %s, %v, want %s", got, err, up)
				}
				uploaded()
				downloaded := tr.beside("origin", func() error {
					if _, err := io.WriteString(x, "HTTP/1.1 200 OK\r\n"+f.fields(size)); err != nil {
						return err
					}
					return f.write(x, noise(2, size))
				})
				res, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				buffers := 0
				h := sha256.New()
				n, err := io.Copy(h, watched{res.Body, func() { buffers = max(buffers, p.buffers()) }})
				if got := fmt.Sprintf("%d bytes, %x", n, h.Sum(nil)[:8]); got != down || err != nil {
					t.Fatalf("the client got %s, %v, want %s", got, err, down)
				}
				downloaded()
				if buffers > 2 {
					t.Errorf("%d buffers were in use, want the head's and one more", buffers)
				}
				p.wantPipes(splice)
			})
		}
	}
}

// watched calls look before reading, every now and then.
type watched struct {
	io.Reader
	look func()
}

func (w watched) Read(b []byte) (int, error) {
	w.look()
	return w.Reader.Read(b)
}

// eachSplice runs a test with everything copied, and with pipes for what is large.
func eachSplice(t *testing.T, name string, f func(t *testing.T, splice int64)) {
	t.Run(name, func(t *testing.T) { f(t, 0) })
	t.Run(name+", spliced", func(t *testing.T) { f(t, 32<<10) })
}

// wantPipes says that there are pipes if there may be, and that none is in use.
func (p *proxy) wantPipes(splice int64) {
	p.tr.Helper()
	open, inUse := 0, 0
	p.onLoops(func(l *Loop) {
		open += l.pipes.open
		inUse += l.pipes.inUse()
	})
	if open > 0 != (splice > 0) || inUse != 0 {
		p.tr.Errorf("%d pipes are open, %d of them in use", open, inUse)
	}
}

func TestBothBodiesFlowAtTheSameTime(t *testing.T) {
	// The origin answers with what it gets, as it gets it.
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	c := p.dial()
	const size = 8 << 20
	want, err := sum(noise(3, size))
	if err != nil {
		t.Fatal(err)
	}
	sent := tr.beside("client", func() error {
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+byChunks.fields(0)); err != nil {
			return err
		}
		return byChunks.write(c, noise(3, size))
	})
	x := o.accept()
	echoed := tr.beside("origin", func() error {
		r, err := http.ReadRequest(x.r)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(x, "HTTP/1.1 200 OK\r\n"+byChunks.fields(0)); err != nil {
			return err
		}
		return byChunks.write(x, r.Body)
	})
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := sum(res.Body); got != want || err != nil {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	sent()
	echoed()
	c.send(get("/next"))
	x.wantRequest("GET /next", "")
	x.send(ok("next"))
	c.want(200, "next")
}

// held returns the sizes of all buffers in use: those that sessions and connections hold.
func (p *proxy) held() (sizes []int) {
	p.tr.Helper()
	p.onLoops(func(l *Loop) {
		for s := l.sessions.next; s != &l.sessions; s = s.next {
			bufs := []*buffer{&s.in, &s.client.out}
			if s.origin != nil {
				bufs = append(bufs, &s.origin.in, &s.origin.out)
			}
			for _, b := range bufs {
				if b.b != nil {
					sizes = append(sizes, len(b.b))
				}
			}
		}
		if l.bufs.inUse != len(sizes) {
			p.tr.Errorf("%d buffers are in use, %d of them known", l.bufs.inUse, len(sizes))
		}
	})
	return sizes
}

func TestASlowReaderOfAFastOriginCostsOneBuffer(t *testing.T) {
	for _, f := range []framing{byLength, byChunks, untilClose} {
		for _, k := range clientKinds {
			eachSplice(t, fmt.Sprint(f, " to ", k.name), func(t *testing.T, splice int64) {
				tr := newTrace(t)
				o := tr.origin()
				p := tr.proxy(setup{splice: splice}, o)
				c := p.dialSlow(k.request("/"))
				x := o.accept()
				x.wantRequest("GET /", "")
				const size = 4 << 20
				sent := tr.beside("origin", func() error {
					if _, err := io.WriteString(x, "HTTP/1.1 200 OK\r\n"+f.fields(size)); err != nil {
						return err
					}
					return f.write(x, noise(4, size))
				})
				tr.eventually("the client takes everything", func() bool { return p.stuck(stageRelay) })
				res, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				for piece := range 50 {
					if held := p.held(); len(held) > 2 {
						t.Fatalf("after %d KiB the session holds buffers of %d bytes, want its head's and one more", piece, held)
					}
					if _, err := io.CopyN(&got, res.Body, 1024); err != nil {
						t.Fatal(err)
					}
				}
				want, err := sum(noise(4, size))
				if err != nil {
					t.Fatal(err)
				}
				if all, err := sum(io.MultiReader(&got, res.Body)); all != want || err != nil {
					t.Errorf("got %s, %v, want %s", all, err, want)
				}
				sent()
			})
		}
	}
}

func TestASlowOriginOfAFastClientCostsOneBuffer(t *testing.T) {
	for _, f := range []framing{byLength, byChunks} {
		eachSplice(t, string(f), func(t *testing.T, splice int64) {
			tr := newTrace(t)
			o := tr.origin()
			o.shrink()
			p := tr.proxy(setup{splice: splice}, o)
			c := p.dial()
			const size = 16 << 20
			sent := tr.beside("client", func() error {
				if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n"+f.fields(size)); err != nil {
					return err
				}
				return f.write(c, noise(5, size))
			})
			x := o.accept()
			tr.eventually("the origin takes everything", func() bool {
				stuck := false
				p.onLoops(func(l *Loop) {
					s := l.sessions.next
					stuck = s.origin != nil && s.origin.waiting()
				})
				return stuck
			})
			r, err := http.ReadRequest(x.r)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for piece := range 50 {
				if held := p.held(); len(held) > 2 {
					t.Fatalf("after %d KiB the session holds buffers of %d bytes, want its head's and one more", piece, held)
				}
				if _, err := io.CopyN(&got, r.Body, 1024); err != nil {
					t.Fatal(err)
				}
			}
			want, err := sum(noise(5, size))
			if err != nil {
				t.Fatal(err)
			}
			if all, err := sum(io.MultiReader(&got, r.Body)); all != want || err != nil {
				t.Errorf("got %s, %v, want %s", all, err, want)
			}
			sent()
			x.send(ok("fine"))
			c.want(200, "fine")
		})
	}
}

func TestAClientThatPipelinesWithoutReadingIsNotReadFurther(t *testing.T) {
	// Its answers wait for it, and so do its requests: in the kernel, not here.
	tr := newTrace(t)
	o := tr.origin()
	o.serveEach(func(*http.Request, []byte) string { return ok(letters(10000)) })
	p := tr.proxy(setup{}, o)
	c := p.dialSlow(get("/"))
	const n = 2000
	sent := tr.beside("client", func() error {
		w := bufio.NewWriterSize(c, 1<<20)
		for range n - 1 {
			io.WriteString(w, get("/"))
		}
		return w.Flush()
	})
	tr.eventually("the client takes everything", func() bool { return p.stuck(stageFlush) || p.stuck(stageRelay) })
	for range n {
		if held := p.held(); len(held) > 2 {
			t.Fatalf("the session holds buffers of %d bytes, want its requests' and one more", held)
		}
		c.want(200, letters(10000))
	}
	sent()
}
