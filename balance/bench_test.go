package balance

import (
	"fmt"
	"slices"
	"testing"
)

var sizes = []int{3, 16, 1000}

// BenchmarkPickDone is one request's share of the group. "idle" has no other request in flight; "busy" has one
// on each server, so that fair must look at all of them.
func BenchmarkPickDone(b *testing.B) {
	for _, algorithm := range []string{"fair", "round-robin"} {
		for _, load := range []string{"idle", "busy"} {
			for _, n := range sizes {
				b.Run(fmt.Sprintf("%s/%s/%d", algorithm, load, n), func(b *testing.B) {
					g := newGroup(b, algorithm, slices.Repeat([]int{1}, n)...)
					if load == "busy" {
						for range n {
							g.Pick(0, nil)
						}
					}
					var tried Tried
					b.ReportAllocs()
					for b.Loop() {
						i, _ := g.Pick(0, &tried)
						g.Connected(i)
						g.Done(i, OutcomeOK, 0)
					}
				})
			}
		}
	}
}

// BenchmarkPickDoneParallel has all CPUs at the same group, each with a request in flight of its own.
func BenchmarkPickDoneParallel(b *testing.B) {
	for _, algorithm := range []string{"fair", "round-robin"} {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("%s/%d", algorithm, n), func(b *testing.B) {
				g := newGroup(b, algorithm, slices.Repeat([]int{1}, n)...)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					var tried Tried
					last, _ := g.Pick(0, &tried)
					for pb.Next() {
						i, _ := g.Pick(0, &tried)
						g.Done(last, OutcomeOK, 0)
						last = i
					}
					g.Done(last, OutcomeOK, 0)
				})
			})
		}
	}
}

// BenchmarkRoundRobinResting is the longest way that round-robin can have: all servers but the last rest.
func BenchmarkRoundRobinResting(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			g := newGroup(b, "round-robin", slices.Repeat([]int{1}, n)...)
			for i := range n - 1 {
				g.Pick(0, nil)
				g.Done(Index(i), OutcomeConnectFailed, 0)
			}
			for b.Loop() {
				i, _ := g.Pick(0, nil)
				g.Done(i, OutcomeOK, 0)
			}
		})
	}
}

// BenchmarkNewRoundRobin is the table of turns at its most expensive for a thousand servers.
func BenchmarkNewRoundRobin(b *testing.B) {
	servers := make([]Server, 1000)
	for i := range servers {
		servers[i].Weight = i + 1
	}
	for b.Loop() {
		if _, err := New(servers, Options{Algorithm: "round-robin"}); err != nil {
			b.Fatal(err)
		}
	}
}
