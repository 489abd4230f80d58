package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// release is set by the linker when a release is built: -ldflags "-X main.release=1.2.3".
var release string

// build says what this binary was built from.
type build struct {
	version  string // of the release, or of the module, or "devel"
	revision string // of the repository; empty when it is not known
	modified bool   // the tree had changes that were not committed
	target   string // Go version, system and architecture
}

func version() build {
	b := build{version: release, target: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.revision = s.Value
			case "vcs.modified":
				b.modified = s.Value == "true"
			}
		}
		if b.version == "" && info.Main.Version != "(devel)" {
			b.version = strings.TrimPrefix(info.Main.Version, "v")
		}
	}
	if b.version == "" {
		b.version = "devel"
	}
	return b
}

// String is one line: millrace 1.2.3 (0123456789ab) go1.26.8 linux/amd64.
func (b build) String() string {
	const shown = 12 // as many digits as git needs to find a commit in any repository of sane size
	source := ""
	if b.revision != "" {
		source = " (" + b.revision[:min(shown, len(b.revision))]
		if b.modified {
			source += ", modified"
		}
		source += ")"
	}
	return "millrace " + b.version + source + " " + b.target
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:                   "version",
		Short:                 "Print the version and what it was built with",
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		Run: func(command *cobra.Command, _ []string) {
			fmt.Fprintln(command.OutOrStdout(), version())
		},
	}
}
