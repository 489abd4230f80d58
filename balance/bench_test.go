package balance

import (
	"fmt"
	"slices"
	"testing"
)

var sizes = []int{1, 3, 16, 100, 1000}

// measured has each algorithm once, by its first name.
var measured = []string{"fair", "round-robin", "hash", "maglev", "bytraffic", "bybusyness", "first", "random", "ewma"}

// BenchmarkPickDone is one request's share of the group. "idle" has no other request in flight; "busy" has one
// on each server, so that fair must look at all of them.
func BenchmarkPickDone(b *testing.B) {
	for _, algorithm := range measured {
		for _, load := range []string{"idle", "busy"} {
			for _, n := range sizes {
				b.Run(fmt.Sprintf("%s/%s/%d", algorithm, load, n), func(b *testing.B) {
					g := newGroup(b, algorithm, slices.Repeat([]int{1}, n)...)
					if load == "busy" {
						for range n {
							g.Pick(0, NoKey, nil)
						}
					}
					var tried Tried
					b.ReportAllocs()
					key := uint64(0)
					for b.Loop() {
						key += golden
						i, _ := g.Pick(0, key, &tried)
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
					last, _ := g.Pick(0, NoKey, &tried)
					for pb.Next() {
						i, _ := g.Pick(0, NoKey, &tried)
						g.Done(last, OutcomeOK, 0)
						last = i
					}
					g.Done(last, OutcomeOK, 0)
				})
			})
		}
	}
}

// BenchmarkPickManyResting has one in ten of a thousand servers rest, which are looked at one by one until their rest is
// over, or has one tried, for whose sake a whole block is.
func BenchmarkPickManyResting(b *testing.B) {
	for _, algorithm := range comparing {
		for _, variant := range []string{"resting", "tried"} {
			b.Run(algorithm+"/"+variant, func(b *testing.B) {
				g := newGroup(b, algorithm, slices.Repeat([]int{1}, 1000)...)
				for range g.Len() {
					g.Pick(0, NoKey, nil)
				}
				var tried Tried
				if variant == "tried" {
					tried.Add(0)
				} else {
					for i := 0; i < g.Len(); i += 10 {
						g.Done(Index(i), OutcomeConnectFailed, 0)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					i, _ := g.Pick(0, NoKey, &tried)
					g.Done(i, OutcomeOK, 0)
				}
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
				g.Pick(0, NoKey, nil)
				g.Done(Index(i), OutcomeConnectFailed, 0)
			}
			for b.Loop() {
				i, _ := g.Pick(0, NoKey, nil)
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

// BenchmarkPickHash is what a key costs with weights, and with bounded loads.
func BenchmarkPickHash(b *testing.B) {
	for _, algorithm := range []string{"hash", "maglev"} {
		for _, n := range sizes {
			for _, variant := range []string{"weights", "bounded"} {
				b.Run(fmt.Sprintf("%s/%s/%d", algorithm, variant, n), func(b *testing.B) {
					servers := make([]Server, n)
					for i := range servers {
						servers[i] = Server{Name: fmt.Sprintf("10.0.%d.%d:80", i/256, i%256), Weight: 1}
					}
					o := Options{Algorithm: algorithm}
					if variant == "bounded" {
						o.HashBalanceFactor = 125
					} else {
						servers[0].Weight = 2
					}
					g, err := New(servers, o)
					if err != nil {
						b.Fatal(err)
					}
					for key := range 2 * n {
						g.Pick(0, mix(uint64(key)), nil)
					}
					key := uint64(0)
					for b.Loop() {
						key += golden
						i, _ := g.Pick(0, key, nil)
						g.Done(i, OutcomeOK, 0)
					}
				})
			}
		}
	}
}
