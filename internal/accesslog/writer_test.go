package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a file whose writes wait until it is open, and fail while it is broken.
type gate struct {
	mu      sync.Mutex
	open    chan struct{} // closed: writes go through
	broken  error
	accepts int // bytes that a broken file takes before it fails
	written bytes.Buffer
	closed  int
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func openGate() *gate {
	g := newGate()
	close(g.open)
	return g
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		n := min(g.accepts, len(p))
		g.accepts -= n
		g.written.Write(p[:n])
		return n, g.broken
	}
	return g.written.Write(p)
}

func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed++
	return nil
}

func (g *gate) breakAfter(accepts int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken, g.accepts = err, accepts
}

func (g *gate) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.written.String()
}

// numbered returns the n-th of a series of records that can be told apart.
func numbered(n int) *Record { return &Record{BytesIn: int64(n), Target: []byte("/path")} }

const numberedFormat = "$bytes_in $target"

// checkSeries checks that text is whole lines of numbered records, in order, each at most once; it returns
// how many.
func checkSeries(t *testing.T, text string) int {
	t.Helper()
	if text == "" {
		return 0
	}
	last := -1
	lines := strings.SplitAfter(text, "\n")
	if tail := lines[len(lines)-1]; tail != "" {
		t.Errorf("the last line is cut: %q", tail)
	}
	lines = lines[:len(lines)-1]
	for _, line := range lines {
		var n int
		if _, err := fmt.Sscanf(line, "%d /path\n", &n); err != nil || line != fmt.Sprintf("%d /path\n", n) {
			t.Fatalf("not a whole line: %q", line)
		}
		if n <= last {
			t.Fatalf("record %d after %d", n, last)
		}
		last = n
	}
	return len(lines)
}

func TestLogWritesInOrder(t *testing.T) {
	g := openGate()
	w := newWriter("gate", g, nil)
	b := w.NewBuffer(mustCompile(t, numberedFormat))
	const n = 100 // less than a chunk: only Flush hands it over
	for i := range n {
		b.Log(numbered(i))
	}
	if !b.Pending() {
		t.Error("nothing is pending before Flush")
	}
	b.Flush()
	if b.Pending() {
		t.Error("something is pending after Flush")
	}
	b.Flush()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got := checkSeries(t, g.text()); got != n || w.Dropped() != 0 || g.closed != 1 {
		t.Errorf("%d of %d records written, %d dropped, closed %d times", got, n, w.Dropped(), g.closed)
	}
	if err := w.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

// TestLogNeverWaits logs far more than there is room for while a write is blocked.
func TestLogNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := captureLog(t)
		g := newGate()
		w := newWriter("gate", g, nil)
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		const logged = 300_000
		for i := range logged {
			b.Log(numbered(i)) // in a bubble, a Log that waited would end the test as a deadlock
		}
		synctest.Wait()
		if w.Dropped() == 0 {
			t.Fatal("nothing was dropped")
		}
		dropped := w.Dropped()

		close(g.open)
		synctest.Wait()
		if got := checkSeries(t, g.text()); got+int(w.Dropped()) != logged {
			t.Errorf("%d written + %d dropped, %d logged", got, w.Dropped(), logged)
		}
		b.Log(numbered(logged))
		b.Flush()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := checkSeries(t, g.text()); got+int(dropped) != logged+1 || w.Dropped() != dropped {
			t.Errorf("%d written + %d dropped, %d logged", got, w.Dropped(), logged+1)
		}
		if lines.count("access log is behind") != 1 || lines.count("records were dropped") != 1 {
			t.Errorf("process log:\n%s", lines)
		}
	})
}

func TestDropsAreReportedEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := captureLog(t)
		g := newGate()
		w := newWriter("gate", g, nil)
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		for b.take() != nil { // as if they were all handed over
		}
		start := time.Now()
		for i := 0; time.Since(start) < 25*time.Second; i++ {
			b.Log(numbered(i))
			time.Sleep(100 * time.Millisecond)
		}
		if got := lines.count("access log is behind"); got != 3 {
			t.Errorf("%d lines in 25 seconds of dropping:\n%s", got, lines)
		}
		close(g.open)
		w.Close()
	})
}

// TestCloseGivesUp closes a Writer whose write never ends.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		w := newWriter("gate", g, nil)
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		const logged = 20_000
		for i := range logged {
			b.Log(numbered(i))
		}
		b.Flush()
		start := time.Now()
		err := w.Close()
		if err == nil || !strings.Contains(err.Error(), "blocked for 5s, 20000 records are lost") {
			t.Errorf("Close() = %v", err)
		}
		if took := time.Since(start); took != patience {
			t.Errorf("Close took %v", took)
		}
		if w.Dropped() != logged {
			t.Errorf("%d dropped of %d", w.Dropped(), logged)
		}
		close(g.open) // too late
		synctest.Wait()
		if w.Dropped() != logged {
			t.Errorf("%d dropped of %d after the write ended", w.Dropped(), logged)
		}
	})
}

// TestCloseWaitsForProgress closes a Writer that is slow, but gets on.
func TestCloseWaitsForProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &slow{}
		w := newWriter("slow", g, nil)
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		const logged = 40_000
		for i := range logged {
			b.Log(numbered(i))
		}
		b.Flush()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := checkSeries(t, g.String()); got != logged || w.Dropped() != 0 {
			t.Errorf("%d of %d records written, %d dropped", got, logged, w.Dropped())
		}
	})
}

// slow takes four seconds for each write.
type slow struct{ bytes.Buffer }

func (s *slow) Write(p []byte) (int, error) { time.Sleep(4 * time.Second); return s.Buffer.Write(p) }
func (s *slow) Close() error                { return nil }

// TestFullDisk has a file that fails in the middle of a line for a while.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := captureLog(t)
		g := openGate()
		w := newWriter("gate", g, nil)
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		logged := 0
		log := func(n int) {
			for range n {
				b.Log(numbered(logged))
				logged++
			}
			b.Flush()
			synctest.Wait()
		}

		log(10)
		g.breakAfter(12, syscall.ENOSPC) // a line and a half
		log(10)
		log(200_000)
		time.Sleep(30 * time.Second)
		if w.Dropped() == 0 {
			t.Error("nothing was dropped")
		}
		if got := lines.count("access log cannot be written"); got < 3 || got > 4 {
			t.Errorf("%d lines in 30 seconds:\n%s", got, lines)
		}
		g.breakAfter(0, nil)
		time.Sleep(retryDelay)
		log(10)
		if got := lines.count("access log is written again"); got != 1 {
			t.Errorf("process log:\n%s", lines)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got := checkSeries(t, g.text()); got+int(w.Dropped()) != logged {
			t.Errorf("%d written + %d dropped, %d logged", got, w.Dropped(), logged)
		}
	})
}

// TestCloseOnFullDisk closes while the file fails: one more try, then what is left is counted.
func TestCloseOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := openGate()
		g.breakAfter(len("0 /path\n1 /pa"), syscall.ENOSPC)
		w := newWriter("gate", g, nil)
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		const logged = 20_000
		for i := range logged {
			b.Log(numbered(i))
		}
		b.Flush()
		err := w.Close()
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "19999 records are lost") {
			t.Errorf("Close() = %v", err)
		}
		if w.Dropped() != logged-1 || g.closed != 1 {
			t.Errorf("%d dropped, closed %d times", w.Dropped(), g.closed)
		}
	})
}

// TestReopenLeavesABrokenFile reopens while the old file fails in the middle of a line: only that one is lost.
func TestReopenLeavesABrokenFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := openGate(), openGate()
		w := newWriter("gate", old, func() (io.WriteCloser, error) { return fresh, nil })
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		old.breakAfter(len("0 /path\n1 /pa"), syscall.EIO)
		const logged = 20_000
		for i := range logged {
			b.Log(numbered(i))
		}
		b.Flush()
		synctest.Wait()
		if err := w.Reopen(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if got, want := old.text(), "0 /path\n1 /pa"; got != want {
			t.Errorf("the old file has %q, want %q", got, want)
		}
		if got := checkSeries(t, fresh.text()); got != logged-2 || w.Dropped() != 1 {
			t.Errorf("%d in the new file, %d dropped, %d logged", got, w.Dropped(), logged)
		}
		if !strings.HasPrefix(fresh.text(), "2 /path\n") || old.closed != 1 || fresh.closed != 1 {
			t.Errorf("new file begins %.10q; old closed %d times, new %d times", fresh.text(), old.closed, fresh.closed)
		}
	})
}

// TestReopenWhileBlocked reopens behind a write that does not end.
func TestReopenWhileBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newGate(), openGate()
		w := newWriter("gate", old, func() (io.WriteCloser, error) { return fresh, nil })
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		b.Log(numbered(0))
		b.Flush()
		synctest.Wait()
		if err := w.Reopen(); err == nil || !strings.Contains(err.Error(), "blocked for 5s") {
			t.Errorf("Reopen() = %v", err)
		}
		b.Log(numbered(1))
		b.Flush()
		close(old.open)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if old.text() != "0 /path\n" || fresh.text() != "1 /path\n" {
			t.Errorf("old has %q, new has %q", old.text(), fresh.text())
		}
	})
}

func TestReopenRotates(t *testing.T) {
	dir := t.TempDir()
	path, renamed := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b := w.NewBuffer(mustCompile(t, numberedFormat))
	const each = 50_000 // all chunks together hold more, so that none are dropped
	for i := range each {
		b.Log(numbered(i))
	}
	b.Flush()
	if err := os.Rename(path, renamed); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); err != nil {
		t.Fatal(err)
	}
	for i := range each {
		b.Log(numbered(each + i))
	}
	b.Flush()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	before, after := readFile(t, renamed), readFile(t, path)
	if got := checkSeries(t, before); got != each || !strings.HasPrefix(before, "0 ") {
		t.Errorf("%d of %d records in the old file", got, each)
	}
	if got := checkSeries(t, after); got != each || !strings.HasPrefix(after, "50000 ") {
		t.Errorf("%d of %d records in the new file", got, each)
	}
	if w.Dropped() != 0 {
		t.Errorf("%d dropped", w.Dropped())
	}
}

func TestReopenThatFailsKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	path, renamed := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b := w.NewBuffer(mustCompile(t, numberedFormat))
	b.Log(numbered(0))
	if err := os.Rename(path, renamed); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := w.Reopen(); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("Reopen() = %v, want EISDIR", err)
	}
	b.Log(numbered(1))
	b.Flush()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got := checkSeries(t, readFile(t, renamed)); got != 2 {
		t.Errorf("%d records in the old file, want 2", got)
	}
	if err := w.Reopen(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Reopen after Close = %v", err)
	}
}

func TestOpenAppendsWithoutAccessForOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	for i := range 2 {
		w, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		b := w.NewBuffer(mustCompile(t, numberedFormat))
		b.Log(numbered(i))
		b.Flush()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := checkSeries(t, readFile(t, path)); got != 2 {
		t.Errorf("%d records, want 2", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&^fileMode != 0 {
		t.Errorf("mode %v", info.Mode())
	}
	if _, err := Open(filepath.Join(path, "below")); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Open below a file = %v", err)
	}
}

// TestFIFO logs to a pipe that nobody reads at first.
func TestFIFO(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b := w.NewBuffer(mustCompile(t, numberedFormat))
	logged := 0
	for w.Dropped() < 1000 {
		b.Log(numbered(logged))
		logged++
	}
	b.Flush()

	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	text := make(chan string)
	go func() {
		all, _ := io.ReadAll(reader)
		text <- string(all)
	}()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := checkSeries(t, <-text); got+int(w.Dropped()) != logged {
		t.Errorf("%d written + %d dropped, %d logged", got, w.Dropped(), logged)
	}
}

// TestLoops has several loops at once, with a file that is reopened under them.
func TestLoops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	w, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	f := mustCompile(t, "$status $bytes_in $target")
	const loops, each = 4, 30_000
	var loopsDone sync.WaitGroup
	for loop := range loops {
		b := w.NewBuffer(f)
		loopsDone.Go(func() {
			for i := range each {
				b.Log(&Record{Status: loop + 1, BytesIn: int64(i), Target: []byte("/path")})
			}
			b.Flush()
		})
	}
	for range 10 {
		if err := w.Reopen(); err != nil {
			t.Error(err)
		}
	}
	loopsDone.Wait()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	perLoop := make([]strings.Builder, loops)
	for line := range strings.Lines(readFile(t, path)) {
		perLoop[line[0]-'1'].WriteString(line[2:])
	}
	written := 0
	for i := range perLoop {
		written += checkSeries(t, perLoop[i].String())
	}
	if written+int(w.Dropped()) != loops*each {
		t.Errorf("%d written + %d dropped, %d logged", written, w.Dropped(), loops*each)
	}
}

func TestRecordsOfUnusualSize(t *testing.T) {
	g := openGate()
	w := newWriter("gate", g, nil)
	b := w.NewBuffer(mustCompile(t, "$target"))
	want := 0
	for _, size := range []int{1, chunkBytes - 2, chunkSlack + 10, 5 * chunkBytes, 1} {
		b.Log(&Record{Target: bytes.Repeat([]byte{'x'}, size)})
		want += size + 1
	}
	b.Flush()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if got := len(g.text()); got != want || w.Dropped() != 0 {
		t.Errorf("%d bytes written, want %d; %d dropped", got, want, w.Dropped())
	}
	for c := b.take(); c != nil; c = b.take() {
		if cap(c.lines) != chunkBytes+chunkSlack {
			t.Errorf("a chunk of %d bytes is kept", cap(c.lines))
		}
	}
}

func TestLogAllocatesNothing(t *testing.T) {
	w := newWriter("discard", discard{}, nil)
	defer w.Close()
	b := w.NewBuffer(mustCompile(t, "combined"))
	r := apacheExample()
	// Enough that chunks come round several times.
	if n := testing.AllocsPerRun(20_000, func() { b.Log(r) }); n != 0 {
		t.Errorf("Log allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { b.Log(r); b.Flush() }); n != 0 {
		t.Errorf("Log and Flush allocate %v times", n)
	}
}

// processLog is what went to the process log.
type processLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func captureLog(t *testing.T) *processLog {
	l := new(processLog)
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(l, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return l
}

func (l *processLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *processLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *processLog) count(message string) int { return strings.Count(l.String(), message) }

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
