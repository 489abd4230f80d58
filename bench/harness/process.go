package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a started server with all its workers.
type process struct {
	cmd  *exec.Cmd
	addr string
	log  string // file that has its stdout and stderr
	done chan struct{}
}

const (
	startTimeout = 10 * time.Second      // until a server must accept connections
	startPoll    = 10 * time.Millisecond // between two attempts
	stopTimeout  = 5 * time.Second       // from SIGTERM to SIGKILL
)

// pinned is a command that runs on one CPU. taskset replaces itself by the program, so that the process started is
// the program.
func pinned(ctx context.Context, cpu int, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "taskset", append([]string{"-c", strconv.Itoa(cpu)}, args...)...)
}

// startProcess starts a server on one CPU and waits until it accepts connections at addr. It must be called on the
// main thread.
func startProcess(ctx context.Context, cpu int, dir, addr string, args []string) (*process, error) {
	p := &process{addr: addr, log: filepath.Join(dir, "output"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	// Not bound to ctx: an interrupt must take the way through stop, which also ends the workers.
	p.cmd = pinned(context.WithoutCancel(ctx), cpu, args...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A group of its own keeps the terminal's interrupt away from it; the death signal ends it with the harness.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // the exit status is of no interest: what it printed is in the log
		close(p.done)
	}()
	if err := p.awaitReady(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(startPoll)
	defer tick.Stop()
	for {
		if c, err := net.Dial("tcp", p.addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("ended at once: %s", p.lastOutput())
		case <-ctx.Done():
			return fmt.Errorf("does not accept connections: %s", p.lastOutput())
		case <-tick.C:
		}
	}
}

// lastOutput is the end of what the process printed.
func (p *process) lastOutput() string {
	const atMost = 1000
	out, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	out = bytes.TrimSpace(out)
	if len(out) > atMost {
		out = out[len(out)-atMost:]
	}
	if len(out) == 0 {
		return "(no output)"
	}
	return string(out)
}

// stop ends the process and its workers, by force if they take too long.
func (p *process) stop() {
	pids := p.pids()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		// Workers are children of a process that still runs, so their numbers are still theirs.
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL) // an error means that it has ended
		}
		<-p.done
	}
}

// pids are the process and all its descendants.
func (p *process) pids() []int {
	children := map[int][]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		if pid, parent, ok := parseStat(string(stat)); ok {
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// parseStat takes the process and its parent from a line of /proc/PID/stat. The command name may contain spaces and
// parentheses: what follows the last one is safe.
func parseStat(stat string) (pid, parent int, ok bool) {
	open, end := strings.IndexByte(stat, ' '), strings.LastIndexByte(stat, ')')
	if open < 0 || end < 0 {
		return 0, 0, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 2 {
		return 0, 0, false
	}
	pid, err1 := strconv.Atoi(stat[:open])
	parent, err2 := strconv.Atoi(fields[1])
	return pid, parent, err1 == nil && err2 == nil
}

// usage is what a process and its workers have used.
type usage struct {
	cpu     time.Duration // of all threads so far
	rss     int64         // bytes
	rssPeak int64         // bytes
}

// usage reads the CPU time and the memory of the process and its workers.
//
// CPU time comes from schedstat, in nanoseconds for each thread: the ticks of /proc/PID/stat are 10 ms, and on many
// kernels sampled. Memory is the sum over the processes, so pages that workers share count more than once.
func (p *process) usage() (u usage, err error) {
	select {
	case <-p.done:
		return u, fmt.Errorf("ended: %s", p.lastOutput())
	default:
	}
	for _, pid := range p.pids() {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is well-formed
		for _, file := range threads {
			stat, err := os.ReadFile(file)
			if err != nil {
				continue // the thread ended meanwhile
			}
			ns, err := parseSchedstat(string(stat))
			if err != nil {
				return u, fmt.Errorf("%s: %w", file, err)
			}
			u.cpu += ns
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		u.rss += statusBytes(string(status), "VmRSS")
		u.rssPeak += statusBytes(string(status), "VmHWM")
	}
	if u.cpu == 0 {
		return u, errors.New("the kernel tells no CPU time in /proc/PID/task/*/schedstat (CONFIG_SCHED_INFO)")
	}
	return u, nil
}

// parseSchedstat takes the time on the CPU, the first of three numbers.
func parseSchedstat(stat string) (time.Duration, error) {
	first, _, _ := strings.Cut(stat, " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	return time.Duration(ns), err
}

// statusBytes takes a "VmRSS:   1234 kB" line from /proc/PID/status; 0 if it is not there.
func statusBytes(status, key string) int64 {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// cpuBusy takes the time that one CPU did not idle from /proc/stat: everything but the fourth and fifth column, time
// stolen by the hypervisor included, without the last two, which the first two contain already.
func cpuBusy(stat string, cpu int) (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux
	name := fmt.Sprintf("cpu%d", cpu)
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != name {
			continue
		}
		var busy time.Duration
		for i, field := range fields[1:9] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("/proc/stat: %w", err)
			}
			if i != 3 && i != 4 {
				busy += time.Duration(n) * tick
			}
		}
		return busy, nil
	}
	return 0, fmt.Errorf("/proc/stat has no %s", name)
}
