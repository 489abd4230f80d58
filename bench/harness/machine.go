package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine is where and how a run was made, without anything that names the machine.
type machine struct {
	Date    string `json:"date"`
	Commit  string `json:"commit"`
	Command string `json:"command"`
	Kernel  string `json:"kernel"`
	CPU     string `json:"cpu"`
	CPUs    int    `json:"cpus"`
	Memory  int64  `json:"memory_bytes"`
	// Congestion is TCP's congestion control. bbr paces what it sends by timers, which the sender pays for.
	Congestion string    `json:"congestion_control"`
	Versions   []version `json:"versions"`
}

type version struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

func describeMachine(o *options, peers []*peer) machine {
	m := machine{
		Date:    time.Now().UTC().Format(time.DateOnly),
		Commit:  commit(o.root),
		Command: strings.Join(append([]string{"go run ./bench/harness"}, os.Args[1:]...), " "),
		Kernel:  strings.TrimSpace(readFile("/proc/sys/kernel/osrelease")),
		CPU:     cpuModel(readFile("/proc/cpuinfo")),
		CPUs:    onlineCPUs(readFile("/proc/cpuinfo")),
		Memory:  statusBytes(readFile("/proc/meminfo"), "MemTotal"),

		Congestion: strings.TrimSpace(readFile("/proc/sys/net/ipv4/tcp_congestion_control")),
	}
	for _, p := range append(peers, originPeer(o)) {
		if p.version != nil {
			m.Versions = append(m.Versions, version{p.name, firstLine(p.binary, p.version...)})
		}
	}
	m.Versions = append(
		m.Versions,
		version{"wrk", firstLine("wrk", "-v")},
		version{"go", runtime.Version()},
		version{"cc (bench/limit)", firstLine("cc", "--version")},
	)
	return m
}

// commit is the short name of the commit that was measured, "-dirty" if the tree has changes, "uncommitted" if there
// is no commit.
func commit(root string) string {
	out, err := exec.Command("git", "-C", root, "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return "uncommitted"
	}
	return strings.TrimSpace(string(out))
}

// firstLine is the first line a program prints; some exit with an error after telling their version.
func firstLine(binary string, args ...string) string {
	out, err := exec.Command(binary, args...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" && err != nil {
		return fmt.Sprintf("unknown (%v)", err)
	}
	return line
}

// readFile is empty where the kernel does not tell.
func readFile(name string) string {
	b, _ := os.ReadFile(name)
	return string(b)
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// onlineCPUs counts those of the machine; runtime.NumCPU would count those this process may use.
func onlineCPUs(cpuinfo string) (n int) {
	for line := range strings.Lines(cpuinfo) {
		if strings.HasPrefix(line, "processor") {
			n++
		}
	}
	return n
}
