package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSize(t *testing.T) {
	for word, want := range map[string]int{"5B": 5, "1KiB": 1024, "16KiB": 16384, "1MiB": 1 << 20} {
		if got, err := parseSize(word); err != nil || got != (size{word, want}) {
			t.Errorf("parseSize(%q) = %v, %v, want %d bytes", word, got, err, want)
		}
	}
	for _, word := range []string{"", "5", "KiB", "0B", "-1B", "5kB", "1.5KiB"} {
		if got, err := parseSize(word); err == nil {
			t.Errorf("parseSize(%q) = %v, want an error", word, got)
		}
	}
}

func TestQuickYieldsToWhatIsGiven(t *testing.T) {
	o, err := parseOptions([]string{"-root", "../..", "-quick", "-rounds", "7"})
	if err != nil {
		t.Fatal(err)
	}
	if len(o.sizes) != 1 || len(o.conns) != 1 || o.seconds != 2 || o.rounds != 7 {
		t.Errorf("got %v, %v connections, %d s, %d rounds, want one of each, 2 s and 7 rounds", o.sizes, o.conns, o.seconds, o.rounds)
	}
}

func TestFeaturesAreMeasuredBesideMillrace(t *testing.T) {
	for args, want := range map[string]string{
		"-edits":                       "millrace millrace-edits",
		"-edits -peers millrace,nginx": "millrace nginx millrace-edits",
		"-routes":                      "millrace millrace-routes-10 millrace-routes-10000",
	} {
		o, err := parseOptions(append([]string{"-root", "../.."}, strings.Fields(args)...))
		if err != nil || strings.Join(o.peers, " ") != want {
			t.Errorf("%s: %v, %v, want %s", args, o.peers, err, want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, args := range []string{
		"-scripts nosuch", "-sizes 5", "-conns 0", "-conns x", "-rounds 0", "-seconds 0", "-proxy-cpu 1", "left over",
	} {
		if _, err := parseOptions(append([]string{"-root", "../.."}, strings.Fields(args)...)); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

func TestPostHasOneSizeOnly(t *testing.T) {
	o, err := parseOptions([]string{"-root", "../..", "-scripts", "small,post", "-sizes", "1KiB,1MiB", "-conns", "64"})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, c := range o.cells() {
		paths = append(paths, c.path)
	}
	if got := strings.Join(paths, " "); got != "/1KiB /1MiB /post" {
		t.Errorf("paths are %q", got)
	}
}

func TestTemplatesCanBeFilled(t *testing.T) {
	files, err := filepath.Glob("../peers/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no templates: %v", err)
	}
	for _, root := range []bool{false, true} {
		s := &settings{
			Listen: "127.0.0.1:1", Host: "127.0.0.1", Port: "1", Origin: "127.0.0.1:2", OriginHost: "127.0.0.1", OriginPort: "2",
			Dir: "/private", Docs: "/docs", Config: filepath.Join(t.TempDir(), "config"), Root: root,
			Tunnels: 100,
		}
		for _, file := range files {
			if err := fill(file, s); err != nil {
				t.Errorf("%s: %v", file, err)
				continue
			}
			out, err := os.ReadFile(s.Config)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(out, []byte("{{")) || bytes.Contains(out, []byte("<no value>")) {
				t.Errorf("%s is not filled:\n%s", file, out)
			}
		}
	}
}
