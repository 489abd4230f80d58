package httpparse_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"millrace/httpparse"
)

// Offsets are 32 bits wide: what does not end within a gigabyte is refused before they could overflow. The pages
// between what is touched are never there.
func TestHugeHeadsAreRefused(t *testing.T) {
	const limit = 1 << 30
	buf, err := unix.Mmap(-1, 0, limit+4096, unix.PROT_READ, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		t.Skipf("no room to map it: %v", err)
	}
	defer unix.Munmap(buf)
	for name, parse := range map[string]parser{
		"request":  parseRequest(new(httpparse.Request)),
		"response": parseResponse(new(httpparse.Response)),
		"trailer":  parseTrailer(),
	} {
		if _, _, err := parse(buf[:limit-1], limit-2); err != httpparse.ErrNeedMore {
			t.Errorf("%s, a byte less: %v", name, err)
		}
		for _, end := range []int{limit, limit + 1, len(buf)} {
			_, _, err := parse(buf[:end], end-1)
			wantError(t, err, httpparse.HeadTooLarge, limit)
			if status := err.(*httpparse.Error).Status(); status != 431 {
				t.Errorf("%s: status %d", name, status)
			}
		}
	}
}
