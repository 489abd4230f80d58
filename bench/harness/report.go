package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// report is all of one run of the harness, as its JSON has it.
type report struct {
	Machine machine  `json:"machine"`
	Remarks []string `json:"remarks,omitempty"`
	Results []result `json:"results"`
}

// result is one cell with every proxy's rounds.
type result struct {
	cell
	Peers []peerResult `json:"peers"`
}

type peerResult struct {
	Name   string        `json:"name"`
	Runs   []measurement `json:"runs"`
	Median *measurement  `json:"median,omitempty"` // over the runs without errors; nil if there is none
}

// measurement is one run of one proxy, or the medians of several.
type measurement struct {
	CPU          float64       `json:"cpu_us_per_request"`
	PerSecond    float64       `json:"requests_per_second"`
	P50          time.Duration `json:"p50_ns"`
	P99          time.Duration `json:"p99_ns"`
	RSS          int64         `json:"rss_bytes"`
	RSSPeak      int64         `json:"rss_peak_bytes"`
	Utilization  float64       `json:"proxy_cpu_utilization"` // of its CPU, 0 to 1
	Foreign      float64       `json:"foreign_cpu_share"`     // by others and the hypervisor, of the CPU that had more
	Requests     int64         `json:"requests"`
	BadStatus    int64         `json:"bad_status,omitempty"`
	SocketErrors int64         `json:"socket_errors,omitempty"`
	Timeouts     int64         `json:"timeouts,omitempty"`
	Conns        int64         `json:"origin_connections,omitempty"`      // with -balance: when the run ended
	ConnsMade    int64         `json:"origin_connections_made,omitempty"` // of these, during the run
	Failure      string        `json:"failure,omitempty"`                 // why there is no figure at all
}

// foreignLimit is the share of one of the two CPUs that others may take before the report says so: above it, caches
// and scheduling cost the proxy more than the differences that are to be seen. The load's CPU matters as much as the
// proxy's: a starved load generator lets the proxy wake up for single events.
const foreignLimit = 0.05

func newMeasurement(w wrkRun, before, after sample) measurement {
	wall := after.at.Sub(before.at).Seconds()
	cpu := after.proxy.cpu - before.proxy.cpu
	byProxy := cpu.Seconds()
	byLoad := (after.origin.cpu - before.origin.cpu + w.cpu).Seconds()
	return measurement{
		CPU:         float64(cpu.Nanoseconds()) / 1e3 / float64(w.requests),
		PerSecond:   w.perSecond,
		P50:         w.p50,
		P99:         w.p99,
		RSS:         after.proxy.rss,
		RSSPeak:     after.proxy.rssPeak,
		Utilization: byProxy / wall,
		Foreign: max(
			0,
			((after.proxyBusy-before.proxyBusy).Seconds()-byProxy)/wall,
			((after.loadBusy-before.loadBusy).Seconds()-byLoad)/wall,
		),
		Requests:     w.requests,
		BadStatus:    w.badStatus,
		SocketErrors: w.socketErrors,
		Timeouts:     w.timeouts,
	}
}

func (m measurement) clean() bool {
	return m.Failure == "" && m.BadStatus == 0 && m.SocketErrors == 0 && m.Timeouts == 0
}

// errors says what went wrong in the run, empty if nothing did.
func (m measurement) errors() string {
	var parts []string
	if m.Failure != "" {
		// A server's last words tell more than its first.
		parts = append(parts, m.Failure[strings.LastIndexByte(m.Failure, '\n')+1:])
	}
	if m.BadStatus > 0 {
		parts = append(parts, fmt.Sprintf("%d bad statuses", m.BadStatus))
	}
	if m.SocketErrors > 0 {
		parts = append(parts, fmt.Sprintf("%d socket errors", m.SocketErrors))
	}
	if m.Timeouts > 0 {
		parts = append(parts, fmt.Sprintf("%d timeouts", m.Timeouts))
	}
	return strings.Join(parts, ", ")
}

func (m measurement) String() string {
	if m.Failure != "" {
		return "FAILED: " + m.Failure
	}
	s := fmt.Sprintf("%8.2f us a request, %8.0f requests/s", m.CPU, m.PerSecond)
	if m.Foreign > foreignLimit {
		s += fmt.Sprintf(", %.0f %% foreign", m.Foreign*100)
	}
	if e := m.errors(); e != "" {
		s += ", ERRORS: " + e
	}
	return s
}

// medianOf takes the median of each figure over the runs without errors.
func medianOf(runs []measurement) *measurement {
	var clean []measurement
	for _, r := range runs {
		if r.clean() {
			clean = append(clean, r)
		}
	}
	if len(clean) == 0 {
		return nil
	}
	return &measurement{
		CPU:         median(clean, func(m measurement) float64 { return m.CPU }),
		PerSecond:   median(clean, func(m measurement) float64 { return m.PerSecond }),
		P50:         median(clean, func(m measurement) time.Duration { return m.P50 }),
		P99:         median(clean, func(m measurement) time.Duration { return m.P99 }),
		RSS:         median(clean, func(m measurement) int64 { return m.RSS }),
		RSSPeak:     median(clean, func(m measurement) int64 { return m.RSSPeak }),
		Utilization: median(clean, func(m measurement) float64 { return m.Utilization }),
		Foreign:     median(clean, func(m measurement) float64 { return m.Foreign }),
		Requests:    median(clean, func(m measurement) int64 { return m.Requests }),
		Conns:       median(clean, func(m measurement) int64 { return m.Conns }),
		ConnsMade:   median(clean, func(m measurement) int64 { return m.ConnsMade }),
	}
}

// median of an even number of values is the mean of the middle two.
func median[T interface {
	cmp.Ordered
	~int64 | ~float64
}](runs []measurement, of func(measurement) T) T {
	values := make([]T, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	slices.Sort(values)
	mid := len(values) / 2
	if len(values)%2 == 1 {
		return values[mid]
	}
	return (values[mid-1] + values[mid]) / 2
}

// write makes DATE-COMMIT.md and .json in the results' directory, or DATE-COMMIT-balance.md and .json, prints the first to stdout, and fails if a run had
// errors: a bench with errors compares nothing.
func (r *report) write(o *options, stdout io.Writer) error {
	for i := range r.Results {
		for j := range r.Results[i].Peers {
			p := &r.Results[i].Peers[j]
			p.Median = medianOf(p.Runs)
		}
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	name := filepath.Join(o.out, r.Machine.Date+"-"+r.Machine.Commit)
	md := ""
	if o.balance {
		name += "-balance"
		md = r.balanceMarkdown()
	} else {
		md = r.markdown()
	}
	if _, err := io.WriteString(stdout, md); err != nil {
		return err
	}
	if err := os.WriteFile(name+".md", []byte(md), 0o644); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".json", append(data, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "harness: written to %s.md and .json\n", name)
	if n := r.dirtyRuns(); n > 0 {
		return fmt.Errorf("%d runs had errors", n)
	}
	return nil
}

func (r *report) dirtyRuns() (n int) {
	for _, res := range r.Results {
		for _, p := range res.Peers {
			for _, run := range p.Runs {
				if !run.clean() {
					n++
				}
			}
		}
	}
	return n
}

// head writes what was measured where.
func (r *report) head(b *strings.Builder, title string) {
	m := r.Machine
	fmt.Fprintf(b, "# %s, %s, %s\n\n", title, m.Date, m.Commit)
	fmt.Fprintf(b, "    %s\n\n", m.Command)
	fmt.Fprintf(b, "Linux %s, %d x %s, %d MiB of memory, TCP congestion control %s.\n\n", m.Kernel, m.CPUs, m.CPU, m.Memory>>20, m.Congestion)
	b.WriteString("| program | version |\n|---|---|\n")
	for _, v := range m.Versions {
		fmt.Fprintf(b, "| %s | %s |\n", v.Name, v.Text)
	}
	for _, remark := range r.Remarks {
		fmt.Fprintf(b, "\nNote: %s.\n", remark)
	}
}

func (r *report) markdown() string {
	var b strings.Builder
	r.head(&b, "Side by side")
	b.WriteString(`
Medians over the rounds, which are interleaved. *CPU* is the time that all threads of the proxy's own processes spent
on a request, with the least and the most of the rounds; *of it* is millrace's figure, or else millrace-sock's, divided
by this proxy's (below 1, millrace needs less CPU; above 1, it serves more requests a second). *Load* is how busy the proxy kept its CPU:
below 100 % the load generator was the bottleneck, and requests/s compare nothing. *Foreign* is what others took
of that CPU or of the load generator's, whichever is more.
`)
	for _, res := range r.Results {
		res.table(&b)
	}
	return b.String()
}

// table writes one cell.
func (res *result) table(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s, %s, %d connections\n\n", res.Script, res.Size, res.Conns)
	b.WriteString("| proxy | CPU us/request | of it | requests/s | of it | p50 | p99 | RSS MiB | peak MiB | load | foreign | errors |\n")
	b.WriteString("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n")
	var own *measurement
	for _, p := range res.Peers {
		if p.Name == "millrace" || p.Name == "millrace-sock" && own == nil {
			own = p.Median
		}
	}
	for _, p := range res.Peers {
		m := p.Median
		if m == nil {
			fmt.Fprintf(b, "| %s | | | | | | | | | | | %s |\n", p.Name, p.errors())
			continue
		}
		least, most := p.cpuRange()
		cpuRatio, rateRatio := "", ""
		if own != nil {
			cpuRatio, rateRatio = fmt.Sprintf("%.2f", own.CPU/m.CPU), fmt.Sprintf("%.2f", own.PerSecond/m.PerSecond)
		}
		fmt.Fprintf(
			b, "| %s | %.2f (%.2f-%.2f) | %s | %.0f | %s | %s | %s | %.1f | %.1f | %.0f %% | %s | %s |\n",
			p.Name, m.CPU, least, most, cpuRatio, m.PerSecond, rateRatio, m.P50, m.P99,
			float64(m.RSS)/(1<<20), float64(m.RSSPeak)/(1<<20), m.Utilization*100, m.foreign(), p.errors(),
		)
	}
	res.prices(b)
}

// foreign is what others took, bold where it is too much.
func (m measurement) foreign() string {
	text := fmt.Sprintf("%.0f %%", m.Foreign*100)
	if m.Foreign > foreignLimit {
		text = "**" + text + "**"
	}
	return text
}

// prices says what a feature costs, if millrace was measured with it and without.
func (res *result) prices(b *strings.Builder) {
	medians := map[string]*measurement{}
	for _, p := range res.Peers {
		medians[p.Name] = p.Median
	}
	for _, feature := range []struct{ name, with, without string }{
		{"Ten edits each way", "millrace-edits", "millrace"},
		{"Ten thousand routes instead of ten", "millrace-routes-10000", "millrace-routes-10"},
	} {
		with, without := medians[feature.with], medians[feature.without]
		if with != nil && without != nil {
			fmt.Fprintf(b, "\n%s: %+.2f us of CPU a request, %.2f times what it costs without.\n",
				feature.name, with.CPU-without.CPU, with.CPU/without.CPU)
		}
	}
}

// cpuRange is the least and the most CPU a request of the runs without errors.
func (p *peerResult) cpuRange() (least, most float64) {
	for _, r := range p.Runs {
		if !r.clean() {
			continue
		}
		if least == 0 || r.CPU < least {
			least = r.CPU
		}
		most = max(most, r.CPU)
	}
	return least, most
}

// errors says in how many of the runs what went wrong, "none" if nothing did.
func (p *peerResult) errors() string {
	var what []string
	for _, r := range p.Runs {
		if !r.clean() {
			what = append(what, r.errors())
		}
	}
	if len(what) == 0 {
		return "none"
	}
	return fmt.Sprintf("**%d of %d runs**: %s", len(what), len(p.Runs), strings.ReplaceAll(strings.Join(what, "; "), "|", "/"))
}
