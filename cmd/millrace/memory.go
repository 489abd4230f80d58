package main

import (
	"errors"
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// cgroupShare is what the process takes of its cgroup's memory: the rest is for what the collector does not see, such
// as the kernel's buffers of the sockets.
const cgroupShare = 0.9

// limitMemory has the collector keep the process below a limit in bytes, and returns the limit that holds; 0 is none. A
// limit of 0 is that of the cgroup. GOMEMLIMIT goes before both: whoever sets it knows what else there is.
func limitMemory(limit int64, log *slog.Logger) int64 {
	if os.Getenv("GOMEMLIMIT") != "" {
		if set := debug.SetMemoryLimit(-1); set != math.MaxInt64 {
			return set
		}
		return 0 // "off"
	}
	if limit == 0 {
		limit = cgroupMemory(log)
	}
	if limit > 0 {
		debug.SetMemoryLimit(limit)
	}
	return limit
}

// cgroupMemory is the process's share of the memory of its cgroup; 0 when that has no limit.
func cgroupMemory(log *slog.Logger) int64 {
	limit, err := memlimit.FromCgroup()
	switch {
	case errors.Is(err, memlimit.ErrNoLimit), errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
		return 0
	case err != nil:
		log.Warn("the memory limit of the cgroup cannot be read; there is none unless memory_limit says so", "error", err)
		return 0
	}
	return int64(float64(limit) * cgroupShare)
}
