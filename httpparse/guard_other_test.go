//go:build !linux

package httpparse_test

import "testing"

// guarded returns a copy of input with no capacity behind it.
func guarded(t testing.TB, input []byte) []byte {
	t.Helper()
	return append(make([]byte, 0, len(input)), input...)
}
