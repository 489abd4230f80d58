package accesslog

import (
	"io"
	"runtime"
	"testing"
)

func BenchmarkAppend(b *testing.B) {
	for _, format := range []string{"common", "combined", "json"} {
		b.Run(format, func(b *testing.B) {
			f := mustCompile(b, format)
			r := apacheExample()
			dst := make([]byte, 0, 4096)
			var s stamps
			b.ReportAllocs()
			for b.Loop() {
				dst = f.append(dst[:0], r, &s)
			}
			b.SetBytes(int64(len(dst)))
		})
	}
}

// BenchmarkLog includes handing over and the writer's goroutine, but no file.
func BenchmarkLog(b *testing.B) {
	for _, format := range []string{"combined", "json"} {
		b.Run(format, func(b *testing.B) {
			w := newWriter("discard", discard{}, nil)
			defer w.Close()
			buffer := w.NewBuffer(mustCompile(b, format))
			r := apacheExample()
			b.ReportAllocs()
			for b.Loop() {
				buffer.Log(r)
				// Wait where a loop would drop, which is no work to measure.
				for buffer.current == nil && buffer.spare == nil && buffer.back.head.Load() == nil {
					runtime.Gosched()
				}
			}
			if w.Dropped() > 0 {
				b.Errorf("%d of %d records dropped", w.Dropped(), b.N)
			}
		})
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return io.Discard.Write(p) }
func (discard) Close() error                { return nil }
