package loop

import (
	"math/rand/v2"
	"testing"
)

// fired records when a test's timer expired.
type fired struct {
	timer
	at Time
}

func (f *fired) expire(now Time) { f.at = now }

func newFired() *fired {
	f := &fired{}
	f.own = f
	return f
}

// wakeups turns the wheel as a loop does: exactly when next says, until end. It returns how often.
func wakeups(w *wheel, end Time) int {
	n := 0
	for w.next() <= end {
		w.advance(w.next(), 1<<30)
		n++
	}
	w.advance(end, 1<<30)
	return n
}

const (
	second  = Time(1e9)
	oneTick = Time(1 << tickBits)
)

func TestTimersFireInTimeAndNeverEarly(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		start := Time(rng.Int64N(int64(1000 * second)))
		w := newWheel(start)
		var timers []*fired
		var want []Time
		for range 200 {
			f := newFired()
			// From a millisecond to some days, beyond the horizon.
			d := Time(rng.Int64N(int64(1) << (20 + rng.IntN(30))))
			w.arm(&f.timer, start+d)
			timers, want = append(timers, f), append(want, start+d)
		}
		wakeups(w, start+Time(1)<<51)
		for i, f := range timers {
			if f.at < want[i] || f.at > want[i]+2*oneTick {
				t.Fatalf("round %d: armed for %d, fired at %d (%d ticks late)", round, want[i], f.at, (f.at-want[i])/oneTick)
			}
			if f.linked {
				t.Fatalf("round %d: still linked after it fired", round)
			}
		}
		if w.next() != never {
			t.Fatalf("round %d: empty wheel is next due at %d", round, w.next())
		}
	}
}

func TestMovingADeadlineLaterIsFreeAndHonoured(t *testing.T) {
	w := newWheel(0)
	f := newFired()
	w.arm(&f.timer, 60*second)
	for now := Time(0); now < 1000*second; now += second {
		w.advance(now, 1<<30)
		if w.arm(&f.timer, now+75*second) {
			t.Fatalf("at %d: a later deadline moved the timer", now)
		}
	}
	if f.at != 0 {
		t.Fatalf("fired at %d while it was being moved", f.at)
	}
	wakeups(w, 2000*second)
	if want := 999*second + 75*second; f.at < want || f.at > want+2*oneTick {
		t.Fatalf("fired at %d, want %d", f.at, want)
	}
}

func TestMovingADeadlineEarlierIsHonoured(t *testing.T) {
	w := newWheel(0)
	f := newFired()
	w.arm(&f.timer, 3600*second)
	if !w.arm(&f.timer, second) {
		t.Fatal("an earlier deadline did not ask for an earlier wake-up")
	}
	wakeups(w, 3600*second)
	if f.at < second || f.at > second+2*oneTick {
		t.Fatalf("fired at %d", f.at)
	}
}

func TestDisarmedTimersStaySilent(t *testing.T) {
	w := newWheel(0)
	f, g := newFired(), newFired()
	w.arm(&f.timer, second)
	w.arm(&g.timer, second)
	w.disarm(&f.timer)
	w.disarm(&f.timer)
	wakeups(w, 10*second)
	if f.at != 0 || g.at == 0 {
		t.Fatalf("disarmed fired at %d, armed at %d", f.at, g.at)
	}
}

func TestExpirationsATurnAreBounded(t *testing.T) {
	w := newWheel(0)
	var timers [100]*fired
	for i := range timers {
		timers[i] = newFired()
		w.arm(&timers[i].timer, second)
	}
	now := w.next()
	for w.next() <= 2*second {
		now = max(now, w.next())
		w.advance(now, 30)
		n := 0
		for _, f := range timers {
			if f.at != 0 {
				n++
			}
		}
		if n%30 != 0 && n != 100 {
			t.Fatalf("%d fired after turns of 30", n)
		}
	}
	for i, f := range timers {
		if f.at == 0 {
			t.Fatalf("timer %d was forgotten", i)
		}
	}
}

// rearmer arms another timer, and itself, when it fires: what a session does.
type rearmer struct {
	timer
	w     *wheel
	other *fired
	n     int
}

func (r *rearmer) expire(now Time) {
	if r.n++; r.n < 3 {
		r.w.arm(&r.timer, now+second)
		r.w.disarm(&r.other.timer)
		r.w.arm(&r.other.timer, now+second/2)
	}
}

func TestATimerMayBeArmedWhileItFires(t *testing.T) {
	w := newWheel(0)
	r := &rearmer{w: w, other: newFired()}
	r.own = r
	w.arm(&r.timer, second)
	w.arm(&r.other.timer, second)
	wakeups(w, 100*second)
	if r.n != 3 || r.other.at == 0 {
		t.Fatalf("fired %d times, other at %d", r.n, r.other.at)
	}
}

func TestAnIdleWheelSleeps(t *testing.T) {
	w := newWheel(0)
	f := newFired()
	w.arm(&f.timer, 3600*second)
	if n := wakeups(w, 3600*second+10*oneTick); n > 2*wheelLevel {
		t.Fatalf("%d wake-ups for one timer an hour ahead", n)
	}
}

func BenchmarkRearm(b *testing.B) {
	w := newWheel(0)
	var timers [64]*fired
	for i := range timers {
		timers[i] = newFired()
	}
	b.ReportAllocs()
	now := Time(0)
	for i := 0; b.Loop(); i++ {
		now += 1000
		f := &timers[i%64].timer
		w.arm(f, now+60*second)
		w.arm(f, now+75*second)
	}
}
