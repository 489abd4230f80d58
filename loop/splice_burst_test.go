package loop

import (
	"fmt"
	"testing"
)

func TestASourceThatBringsMuchEachTimeIsSplicedThoughItRunsDry(t *testing.T) {
	const threshold = 64 << 10
	for _, c := range []struct {
		bytes   int
		spliced bool
	}{
		{threshold / burstShare, true},
		{threshold/burstShare - 1, false},
		{threshold, true},
		{100, false},
	} {
		t.Run(fmt.Sprint(c.bytes, " bytes at a time"), func(t *testing.T) {
			tr := newTrace(t)
			o := tr.origin()
			p := tr.proxy(setup{sock: true, splice: threshold}, o)
			a := p.dial()
			b := o.accept()
			burst := letters(c.bytes)
			for range 2 * burstShare {
				release := p.hold()
				a.send(burst)
				release() // all of it is there when the loop looks
				b.wantBytes(burst)
			}
			pipes := 0
			p.onLoops(func(l *Loop) { pipes += l.pipes.open })
			if (pipes > 0) != c.spliced {
				t.Errorf("%d pipes, want some: %v", pipes, c.spliced)
			}
		})
	}
}

func TestASplicedSourceThatBringsLittleIsCopiedAgain(t *testing.T) {
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{sock: true, splice: 64 << 10}, o)
	a := p.dial()
	b := o.accept()
	much := letters(32 << 10)
	for range 4 {
		release := p.hold()
		a.send(much)
		release()
		b.wantBytes(much)
		p.settle() // it has seen that there is no more
	}
	a.send("little") // ends it
	b.wantBytes("little")
	p.settle()
	p.onLoops(func(l *Loop) {
		if f := &l.sessions.next.t.up; f.run != 0 || l.pipes.open == 0 {
			t.Errorf("%d bytes count for splicing behind a small burst, with %d pipes", f.run, l.pipes.open)
		}
	})
}
