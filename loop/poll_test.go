package loop

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// A loop that waits keeps its processor from everybody else, who are all of this test: its client, its server, and the
// garbage collector.
func TestALoopThatKeepsItsProcessorStopsNobody(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(10))
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{loops: 2, with: func(plan *Plan) { plan.Linger = time.Hour }}, o)
	for n := range 3 {
		c := p.dial()
		c.send(get(fmt.Sprintf("/%d", n)))
		x := o.accept()
		x.wantRequest(fmt.Sprintf("GET /%d", n), "")
		runtime.GC()
		x.send(ok("fine"))
		c.want(200, "fine")
		p.settle()
		c.Close()
		x.Close()
	}
	p.drain()
}

// However long it would wait, and whether the loop's own goroutine posts or another.
func TestAPostReachesALoopThatWaits(t *testing.T) {
	for _, linger := range []time.Duration{0, time.Millisecond, time.Hour} {
		t.Run(fmt.Sprint("linger ", linger), func(t *testing.T) {
			tr := newTrace(t)
			p := tr.proxy(setup{with: func(plan *Plan) { plan.Linger = linger }}, tr.origin())
			for range 100 {
				p.settle()
			}
			done := make(chan struct{})
			p.srv.loops[0].post(func() {
				// Somebody posts to the loop that it runs on, as a loop that resumes its listeners does.
				p.srv.loops[0].post(func() { close(done) })
			})
			select {
			case <-done:
			case <-time.After(patience):
				t.Fatal("what was posted by what was posted does not run")
			}
		})
	}
}

// Functions that post themselves again do not keep a loop from its events.
func TestPostsDoNotStarveClients(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{}, o)
	l := p.srv.loops[0]
	stop := make(chan struct{})
	var again func()
	again = func() {
		select {
		case <-stop:
		default:
			l.post(again)
		}
	}
	l.post(again)
	c := p.dial()
	c.send(get("/"))
	x := o.accept()
	x.wantRequest("GET /", "")
	x.send(ok("fine"))
	c.want(200, "fine")
	close(stop)
}

func TestTurnsOfTheRunList(t *testing.T) {
	l := &Loop{}
	var order []string
	var a, b runnerFunc
	a = func() { order = append(order, "a"); l.runs.add(&b) }
	b = func() { order = append(order, "b") }
	l.runs.add(&a)
	for turn := range 3 {
		l.runs.begin()
		l.runs.run(l)
		if want := min(turn+1, 2); len(order) != want || l.runs.queued() != 1-min(turn, 1) {
			t.Fatalf("turn %d: %v have run, %d are queued", turn, order, l.runs.queued())
		}
	}
}

type runnerFunc func()

func (f *runnerFunc) resume() { (*f)() }
