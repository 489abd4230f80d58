package loop

import "time"

// Time is nanoseconds of the monotonic clock since the process started. It is read once a wake-up and passed
// down, so that everything that happens in one step happens at one time, and tests can set it.
type Time int64

// never is the deadline of whatever waits without a limit.
const never = Time(1<<63 - 1)

var processStart = time.Now()

// clock reads the monotonic clock. time.Since reads no wall clock, which halves its price.
func clock() Time { return Time(time.Since(processStart)) }

// after returns t plus d, or never when d is zero, which everywhere means no limit.
func (t Time) after(d time.Duration) Time {
	if d == 0 {
		return never
	}
	return t + Time(d)
}
