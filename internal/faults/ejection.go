package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// condition is how a server is.
type condition int32

const (
	fine   condition = iota
	slow             // it takes a while to answer
	hung             // it takes connections and requests, and answers nothing
	killed           // its connections are reset, and new ones refused
)

// String returns the condition in a word.
func (c condition) String() string { return [...]string{"fine", "slow", "hung", "killed"}[c] }

// patient is a server whose condition changes.
type patient struct {
	*origin
	condition atomic.Int32
	answers   atomic.Int64

	mu      sync.Mutex
	changed chan struct{} // closed when the condition changes
}

// patient starts a server that is fine. It answers after a time that depends on its condition.
func (e *env) patient(whenFine, whenSlow time.Duration) (*patient, error) {
	p := &patient{changed: make(chan struct{})}
	var err error
	p.origin, err = e.origin(instead(func(c *conn, req *http.Request, body []byte) bool {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		wait := whenFine
		switch p.is() {
		case hung:
			<-changed
			return false
		case slow:
			wait = whenSlow
		}
		if wait > 0 {
			pause := time.NewTimer(wait)
			defer pause.Stop()
			<-pause.C
		}
		// Whoever sees the answer finds it counted.
		p.answers.Add(1)
		_, err := io.WriteString(c, response(req, body))
		return err == nil
	}))
	return p, err
}

func (p *patient) is() condition { return condition(p.condition.Load()) }

// become changes the condition.
func (p *patient) become(to condition) error {
	from := condition(p.condition.Swap(int32(to)))
	p.mu.Lock()
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	switch {
	case from != killed && to == killed:
		p.down()
	case from == killed && to != killed:
		return p.up()
	}
	return nil
}

// end ends the server, whatever holds its connections.
func (p *patient) end() {
	p.become(killed)
	p.close()
}

// checkedUp reports what the proxy's health checks have last said of a server.
func (p *proxy) checkedUp(addr string) bool {
	text := p.out.String()
	of := fmt.Sprintf("%q:%q", "server", addr)
	up := true
	for line := range strings.Lines(text) {
		if strings.Contains(line, "health check: ") && strings.Contains(line, of) {
			up = strings.Contains(line, "the server is up")
		}
	}
	return up
}

// walk goes through all combinations of what a number of servers can be, in which one is other than before at a time,
// and by one: the reflected code of Gray.
func walk(servers, conditions int, f func(state []condition) error) error {
	state, step := make([]condition, servers), make([]condition, servers)
	for i := range step {
		step[i] = 1
	}
	for {
		if err := f(state); err != nil {
			return err
		}
		i := 0
		for ; i < servers; i++ {
			if next := state[i] + step[i]; next >= 0 && int(next) < conditions {
				state[i] = next
				break
			}
			step[i] = -step[i]
		}
		if i == servers {
			return nil
		}
	}
}

// failedOver counts what clients have met while servers changed.
type failedOver struct {
	*result
	gets, failed, excused atomic.Int64
	// nobody counts the times in which no server was better than hung; it is odd while that is so.
	nobody atomic.Int64
}

// get sends a GET. It must succeed unless there was nobody to answer it.
func (f *failedOver) get(e *env, c *client) {
	before := f.nobody.Load()
	e.mu.Lock()
	e.next++
	target := fmt.Sprintf("/%d", e.next)
	e.mu.Unlock()
	status, got, err := c.do(http.MethodGet, target, "")
	f.gets.Add(1)
	f.mu.Lock()
	f.requests++
	f.mu.Unlock()
	switch {
	case err == nil && status == http.StatusOK:
		if got != answerTo(http.MethodGet, target, 0) {
			f.wrongf("GET %s got another answer: %.100q", target, got)
		}
	case before%2 == 1 || f.nobody.Load() != before:
		f.excused.Add(1)
	default:
		f.failed.Add(1)
		f.mu.Lock()
		f.errors++
		f.mu.Unlock()
		f.wrongf("GET %s got %d (%v), and there was a server", target, status, err)
	}
}

// failover has three servers go through all combinations of being fine, slow, hung and killed, one of them changing at a
// time, while clients send GETs and POSTs. A GET succeeds as long as one server is fine or slow. A POST may fail, and never
// comes to servers twice, by what they have seen.
func failover(e *env) (*result, error) {
	f := &failedOver{result: &result{}}
	var patients []*patient
	var addrs []string
	for range 3 {
		p, err := e.patient(0, 20*time.Millisecond)
		if err != nil {
			return nil, err
		}
		defer p.end()
		patients = append(patients, p)
		addrs = append(addrs, p.addr)
	}
	// A machine that is busy with other things must not make a server that is slow look like one that hangs.
	patience, changing := "500ms", patients
	if !e.full {
		patience, changing = "2s", patients[:2]
	}
	_, err := e.start(setting{
		tables: fmt.Sprintf("[timeouts]\nresponse = %q\n", patience),
		backend: fmt.Sprintf(`balance = "round-robin"
disable_time = "100ms"
fail_on_timeout = true
force_recovery = true
retry_on = ["connect", "closed", "timeout"]

[backend.origin.health]
interval = "50ms"
jitter = "0"
timeout = %q
rise = 1
fall = 1
`, patience),
	}, addrs...)
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var sending sync.WaitGroup
	rounds := make([]atomic.Int64, 8) // requests of each client that have ended
	var posts atomic.Int64
	for i := range rounds {
		sending.Go(func() {
			c := &client{addr: e.proxy.addr}
			defer c.close()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if i%2 == 0 {
					f.get(e, c)
				} else {
					e.ask(f.result, c, http.MethodPost, bodyOf(http.MethodPost), http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, cut)
					posts.Add(1)
				}
				rounds[i].Add(1)
			}
		})
	}
	combinations := 0
	err = walk(len(changing), int(killed)+1, func(state []condition) error {
		better := len(patients) - len(changing)
		for _, c := range state {
			if c <= slow {
				better++
			}
		}
		if better == 0 && f.nobody.Load()%2 == 0 {
			f.nobody.Add(1)
		}
		for i, c := range state {
			if c != patients[i].is() {
				if err := patients[i].become(c); err != nil {
					return err
				}
			}
		}
		// Nobody meets more than one change: what was under way has ended, and the proxy knows how its servers are.
		ended, answered := make([]int64, len(rounds)), make([]int64, len(changing))
		for i := range rounds {
			ended[i] = rounds[i].Load()
		}
		for i, p := range changing {
			answered[i] = p.answers.Load()
		}
		err := await(fmt.Sprintf("servers that are %v are known to be", state), func() bool {
			for i := range rounds {
				if rounds[i].Load() < ended[i]+2 {
					return false
				}
			}
			for i, p := range changing {
				if well := state[i] <= slow; well != e.proxy.checkedUp(p.addr) || well && p.answers.Load() < answered[i]+2 {
					return false
				}
			}
			return true
		})
		if better > 0 && f.nobody.Load()%2 == 1 {
			f.nobody.Add(1)
		}
		combinations++
		return err
	})
	close(stop)
	sending.Wait()
	twice := 0
	e.mu.Lock()
	for target, n := range e.seen {
		if strings.HasPrefix(target, "POST ") && n > 1 {
			twice++
		}
	}
	e.mu.Unlock()
	f.remarkf("%d combinations; of %d GETs %d failed with a server there, %d without; of %d POSTs %d came to servers twice",
		combinations, f.gets.Load(), f.failed.Load(), f.excused.Load(), posts.Load(), twice)
	return f.result, err
}

// judged is a proxy before five servers that it compares, and clients that send GETs to it.
func judged(e *env, f func(patients []*patient) error) (*result, error) {
	r := &result{}
	var patients []*patient
	var addrs []string
	takes := 5 * time.Millisecond
	if !e.full {
		takes = 50 * time.Millisecond // a busy machine must not make up for the difference
	}
	for range 5 {
		p, err := e.patient(takes, 10*takes)
		if err != nil {
			return nil, err
		}
		defer p.end()
		patients = append(patients, p)
		addrs = append(addrs, p.addr)
	}
	if _, err := e.start(setting{backend: `balance = "round-robin"

[backend.origin.ejection]
latency_factor = 3
`}, addrs...); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var sending sync.WaitGroup
	for range 10 {
		sending.Go(func() {
			c := &client{addr: e.proxy.addr}
			defer c.close()
			for {
				select {
				case <-stop:
					return
				default:
					e.ask(r, c, http.MethodGet, "")
				}
			}
		})
	}
	err := f(patients)
	close(stop)
	sending.Wait()
	return r, err
}

// ejected counts what the proxy has said of servers that leave.
func (p *proxy) ejected(of string) int {
	n := 0
	for line := range strings.Lines(p.out.String()) {
		if strings.Contains(line, "ejection: the server is out") && strings.Contains(line, of) {
			n++
		}
	}
	return n
}

// answeredBy waits until each server has answered so many more requests.
func answeredBy(patients []*patient, more int64) error {
	before := make([]int64, len(patients))
	for i, p := range patients {
		before[i] = p.answers.Load()
	}
	return await(fmt.Sprintf("each server answers %d requests", more), func() bool {
		for i, p := range patients {
			if p.answers.Load() < before[i]+more {
				return false
			}
		}
		return true
	})
}

// oneSlow: one of five servers becomes ten times slower. It leaves within five seconds, and alone.
func oneSlow(e *env) (*result, error) {
	const within = 5 * time.Second
	var remark string
	var wrong []string
	r, err := judged(e, func(patients []*patient) error {
		if err := answeredBy(patients, 100); err != nil {
			return err
		}
		const sick = 2
		began := time.Now()
		if err := patients[sick].become(slow); err != nil {
			return err
		}
		if err := await("the slow server leaves", func() bool { return e.proxy.ejected(patients[sick].addr) > 0 }); err != nil {
			return fmt.Errorf("%w\n%s", err, e.proxy.out)
		}
		took := time.Since(began)
		if e.full && took > within {
			wrong = append(wrong, fmt.Sprintf("it takes %v for the slow server to leave, allowed are %v", took, within))
		}
		well := append(append([]*patient{}, patients[:sick]...), patients[sick+1:]...)
		if err := answeredBy(well, 50); err != nil { // what was under way at the slow one has ended
			return err
		}
		before := patients[sick].answers.Load()
		if err := answeredBy(well, int64(e.size(1000, 50))); err != nil {
			return err
		}
		if n := patients[sick].answers.Load() - before; n > 0 {
			wrong = append(wrong, fmt.Sprintf("the slow server got %d requests while it was out", n))
		}
		if n := e.proxy.ejected(""); n != 1 {
			wrong = append(wrong, fmt.Sprintf("%d servers have left, want 1:\n%s", n, e.proxy.out))
		}
		remark = fmt.Sprintf("out after %v", took.Round(time.Millisecond))
		return nil
	})
	if r != nil {
		r.wrong, r.remark = append(r.wrong, wrong...), remark
	}
	return r, err
}

// allSlow: all of five servers become ten times slower at once. None leaves.
func allSlow(e *env) (*result, error) {
	left := 0
	r, err := judged(e, func(patients []*patient) error {
		if err := answeredBy(patients, 100); err != nil {
			return err
		}
		for _, p := range patients {
			if err := p.become(slow); err != nil {
				return err
			}
		}
		// About 40 a second: in a full run for more than the window of ten seconds.
		err := answeredBy(patients, int64(e.size(480, 30)))
		left = e.proxy.ejected("")
		return err
	})
	if r != nil {
		r.remarkf("%d of 5 have left", left)
		if left > 0 {
			r.wrongf("%d servers have left:\n%s", left, e.proxy.out)
		}
	}
	return r, err
}
