package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"
)

// client is one keep-alive connection, for tests that count them.
type client struct {
	conn  net.Conn
	r     *bufio.Reader
	asked time.Time // when the last request was about to be sent
	since time.Time // when the last response had come
	ended time.Time // when the end of the connection was seen
}

// clientTimeout bounds what a client waits for unless a test says otherwise.
const clientTimeout = soon

func connect(address string) (*client, error) {
	conn, err := dial(address)
	if err != nil {
		return nil, err
	}
	// The reader takes no more than a small response, so that thousands of them cost little.
	return &client{conn: conn, r: bufio.NewReaderSize(conn, 512)}, nil
}

func (c *client) close() { c.conn.Close() }

// send writes bytes of a request.
func (c *client) send(b string) error {
	c.asked = time.Now()
	if err := c.conn.SetDeadline(c.asked.Add(clientTimeout)); err != nil {
		return err
	}
	_, err := io.WriteString(c.conn, b)
	return err
}

// answer reads a whole response. It tells whether the proxy keeps the connection.
func (c *client) answer(within time.Duration) (status int, body string, kept bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return 0, "", false, err
	}
	response, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, "", false, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	c.since = time.Now()
	return response.StatusCode, string(b), !response.Close, err
}

// get asks for a path, which must be answered with 200.
func (c *client) get(path string) error {
	if err := c.send("GET " + path + " HTTP/1.1\r\nHost: e2e\r\n\r\n"); err != nil {
		return err
	}
	status, _, _, err := c.answer(clientTimeout)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: status %d", path, status)
	}
	return err
}

// closed reports whether the proxy has closed the connection, orderly, without a byte.
func (c *client) closed(within time.Duration) error {
	if err := c.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := c.r.ReadByte()
	c.ended = time.Now()
	switch {
	case err == io.EOF:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("open after %v", within)
	case err == nil:
		return errors.New("a byte came that nobody asked for")
	}
	return err
}

// crowd is many clients. each runs f for all of them, some dozens at a time, and stops the test at the first error.
type crowd []*client

func (cs crowd) each(t *testing.T, f func(*client) error) {
	t.Helper()
	inParallel(t, 32, len(cs), func(i int) error { return f(cs[i]) })
}

// gather opens connections and has each make one request.
func gather(t *testing.T, n int, address, path string) crowd {
	t.Helper()
	cs := make(crowd, n)
	t.Cleanup(cs.leave)
	inParallel(t, 32, n, func(i int) (err error) {
		if cs[i], err = connect(address); err != nil {
			return err
		}
		return cs[i].get(path)
	})
	return cs
}

// leave closes all connections.
func (cs crowd) leave() {
	for _, c := range cs {
		if c != nil {
			c.close()
		}
	}
}

// inParallel calls f with 0 to n-1 on a number of goroutines, and stops the test if any call fails.
func inParallel(t *testing.T, workers, n int, f func(i int) error) {
	t.Helper()
	next := make(chan int)
	failed := make(chan error, workers)
	var running sync.WaitGroup
	for range min(workers, n) {
		running.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					failed <- fmt.Errorf("client %d of %d: %w", i+1, n, err)
					return
				}
			}
		})
	}
	var err error
	for i := 0; i < n && err == nil; i++ {
		select {
		case next <- i:
		case err = <-failed:
		}
	}
	close(next)
	running.Wait()
	if err == nil && len(failed) > 0 {
		err = <-failed
	}
	if err != nil {
		t.Fatal(err)
	}
}
