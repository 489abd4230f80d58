package httpparse_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// guardRoom is how many bytes fit before the guard page: more than any input of the tests.
const guardRoom = 64 << 10

var guard []byte

// guarded returns a copy of input that ends where the mapped memory does, with no capacity behind it: a read
// of one byte too many kills the test, whatever means it uses. The copy is gone with the next call.
func guarded(t testing.TB, input []byte) []byte {
	t.Helper()
	if guard == nil {
		page := unix.Getpagesize()
		mem, err := unix.Mmap(-1, 0, guardRoom+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			t.Fatalf("mmap: %v", err)
		}
		if err := unix.Mprotect(mem[guardRoom:], unix.PROT_NONE); err != nil {
			t.Fatalf("mprotect: %v", err)
		}
		guard = mem[:guardRoom]
	}
	if len(input) > guardRoom {
		return append(make([]byte, 0, len(input)), input...)
	}
	b := guard[guardRoom-len(input) : guardRoom : guardRoom]
	copy(b, input)
	return b
}
