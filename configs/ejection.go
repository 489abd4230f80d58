package configs

import (
	"time"

	"millrace/balance"
	"millrace/internal/health"
	"millrace/loop"
)

// The ranges of what is said of ejections.
const (
	minWindow        = time.Second // a tenth of it is how often servers are judged
	maxWindow        = time.Hour
	maxWindowCount   = 1_000_000
	minLatencyFactor = 2 // what is less is in the nature of latencies
	maxLatencyFactor = 1000
	maxEjectionTime  = 24 * time.Hour
)

// ejection is the table that has servers of a backend leave for what their answers are like.
type ejection struct {
	section
	Window        value[time.Duration]   `toml:"window"`
	MinRequests   value[int64]           `toml:"min_requests"`
	ErrorRate     value[int64]           `toml:"error_rate"`
	ErrorStatus   value[[]value[string]] `toml:"error_status"`
	LatencyFactor value[int64]           `toml:"latency_factor"`
	MinLatency    value[time.Duration]   `toml:"min_latency"`
	Time          value[time.Duration]   `toml:"time"`
	MaxTime       value[time.Duration]   `toml:"max_time"`
	MaxShare      value[int64]           `toml:"max_share"`

	errors *loop.StatusSet
}

func (e *ejection) setDefaults() {
	setDefault(&e.Window, 10*time.Second)
	setDefault(&e.MinRequests, 20)
	setDefault(&e.ErrorRate, 50)
	setDefault(&e.LatencyFactor, 0)
	setDefault(&e.MinLatency, 10*time.Millisecond)
	setDefault(&e.Time, 30*time.Second)
	setDefault(&e.MaxTime, 5*time.Minute)
	setDefault(&e.MaxShare, 30)
}

func (v validator) ejection(b *backend) {
	e := &b.Ejection
	if !e.given {
		return
	}
	between(v, e.Window, minWindow, maxWindow, "", formatDuration)
	between(v, e.MinRequests, 1, maxWindowCount, "", decimal)
	between(v, e.ErrorRate, 1, 100, "0 for none, or ", decimal)
	between(v, e.LatencyFactor, minLatencyFactor, maxLatencyFactor, "0 for none, or ", decimal)
	between(v, e.MinLatency, minTimeout, maxWindow, "0 for none, or ", formatDuration)
	between(v, e.Time, minTimeout, maxEjectionTime, "", formatDuration)
	between(v, e.MaxTime, minTimeout, maxEjectionTime, "", formatDuration)
	between(v, e.MaxShare, 1, 100, "", decimal)
	if e.Time.ok && e.MaxTime.ok && e.MaxTime.v < e.Time.v {
		at := e.MaxTime.place
		if !e.MaxTime.given {
			at = e.Time.place
		}
		v.value(at, "the longest time, %s, is less than the first one, %s", formatDuration(e.MaxTime.v), formatDuration(e.Time.v))
	}
	v.errorStatuses(e)
	byErrors, byLatency := !e.ErrorRate.ok || e.ErrorRate.v > 0, !e.LatencyFactor.ok || e.LatencyFactor.v > 0
	switch {
	case !byErrors && !byLatency:
		v.key(e.place, "no server would ever leave: set error_rate or latency_factor, or leave the table out")
	case !byErrors && e.ErrorStatus.given:
		v.key(e.ErrorStatus.place, "has no effect with error_rate = 0")
	case !byLatency && e.MinLatency.given:
		v.key(e.MinLatency.place, "has no effect without latency_factor")
	}
	if n := len(b.targets); n == 1 && b.targets[0].valid() {
		v.warn(e.place, "has no effect with one server: one always stays")
	}
}

// errorStatuses reads which statuses are errors: those of a server's own failing, unless the file says otherwise.
func (v validator) errorStatuses(e *ejection) {
	e.errors = new(loop.StatusSet)
	if !e.ErrorStatus.given {
		for status := 500; status <= 599; status++ {
			e.errors.Add(status)
		}
	}
	for _, s := range e.ErrorStatus.v {
		r, err := health.ParseStatusRange(s.v)
		if err != nil {
			v.value(s.place, "%v", err)
			continue
		}
		for status := r.First; status <= r.Last; status++ {
			e.errors.Add(status)
		}
	}
}

// options is nil where servers are not ejected.
func (e *ejection) options() *balance.Ejection {
	if !e.given {
		return nil
	}
	return &balance.Ejection{
		Window:        e.Window.v,
		MinRequests:   int(e.MinRequests.v),
		ErrorRate:     int(e.ErrorRate.v),
		LatencyFactor: int(e.LatencyFactor.v),
		MinLatency:    e.MinLatency.v,
		Time:          e.Time.v,
		MaxTime:       e.MaxTime.v,
		MaxShare:      int(e.MaxShare.v),
	}
}
