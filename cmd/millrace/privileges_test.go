package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
)

// nobody is a user that every system has, and its number.
const (
	nobody       = "nobody"
	nobodyNumber = 65534
)

// needRoot skips a test that only root can run.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("only root can give up being root")
		}
		t.Skip("only root can give up being root")
	}
}

// openFolder is a temporary folder that everybody can look into.
func openFolder(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, path := range []string{folder, filepath.Dir(folder)} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// runWith is runProxy with more in the [server] table, and a folder for the access log.
func runWith(t *testing.T, table, folder string) (p *process, url string) {
	t.Helper()
	server, _, _ := origin(t)
	address := freeAddress(t)
	config := filepath.Join(t.TempDir(), "millrace.toml")
	text := fmt.Sprintf("[server]\n%s\n[access_log]\npath = %q\nformat = '$request $status'\n[[listener]]\naddress = %q\n"+
		"[[route]]\nbackend = \"app\"\n[backend.app]\nservers = [%q]\n", table, filepath.Join(folder, "access.log"), address, server)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return startProcess(t, "run", "--config", config), "http://" + address
}

// threads returns the value of a line of the status of each thread of a process.
func (p *process) threads(line string) (values []string) {
	p.t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(files) == 0 {
		p.t.Fatalf("no threads: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			p.t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(l, line+":"); ok {
				values = append(values, strings.Join(strings.Fields(v), " "))
			}
		}
	}
	return values
}

func TestProcessGivesUpRoot(t *testing.T) {
	needRoot(t)
	for _, test := range []struct{ table, group, groups string }{
		{"user = \"" + nobody + "\"", "65534", "65534"},
		{"user = \"65534\"\ngroup = \"4\"", "4", "4"},
	} {
		folder := openFolder(t)
		if err := os.Chown(folder, nobodyNumber, nobodyNumber); err != nil {
			t.Fatal(err)
		}
		p, url := runWith(t, test.table, folder)
		says(t, p.stderr, `"msg":"serving"`)
		for line, want := range map[string]string{
			"Uid":    "65534 65534 65534 65534",
			"Gid":    strings.Repeat(test.group+" ", 3) + test.group,
			"Groups": test.groups, "CapEff": "0000000000000000", "CapPrm": "0000000000000000",
		} {
			for _, got := range p.threads(line) {
				if got != want {
					t.Errorf("%s: a thread has %s %q, want %q", test.table, line, got, want)
				}
			}
		}
		wantOK(t, url+"/before")
		wantRotation(t, p, url, folder)
		p.signal(syscall.SIGTERM)
		p.exits(exitOK)
	}
}

// wantRotation renames the access log and has it opened anew.
func wantRotation(t *testing.T, p *process, url, folder string) {
	t.Helper()
	path := filepath.Join(folder, "access.log")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGUSR1)
	says(t, p.stderr, `"msg":"the access log was reopened"`)
	if text, err := os.ReadFile(path + ".1"); err != nil || string(text) != "GET /before HTTP/1.1 200\n" {
		t.Errorf("the old log: %q, %v", text, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the new log: %v", err)
	}
	wantOK(t, url+"/after")
}

func TestProcessSaysThatTheLogCannotBeOpenedAgain(t *testing.T) {
	needRoot(t)
	folder := openFolder(t)
	p, url := runWith(t, "user = \"nobody\"", folder)
	says(t, p.stderr, `"level":"WARN","msg":"the folder of the access log is not writable for server.user`)
	says(t, p.stderr, `"msg":"serving"`)
	wantOK(t, url)
	// The file itself is the user's: as long as nobody renames it, it can be.
	p.signal(syscall.SIGUSR1)
	says(t, p.stderr, `"msg":"the access log was reopened"`)
	p.signal(syscall.SIGTERM)
	p.exits(exitOK)
}

func TestProcessDoesNotStartAsNobodyKnown(t *testing.T) {
	for table, want := range map[string]string{
		"user = \"no-such-user\"":   "unknown user no-such-user",
		"group = \"no-such-group\"": "unknown group no-such-group",
	} {
		p, _ := runWith(t, table, t.TempDir())
		says(t, p.stderr, `"msg":"cannot start".*`+want)
		p.exits(exitFailed)
	}
}

// sandboxed is a command that enters the sandbox and then tries what its arguments say.
func sandboxed() {
	config, accessLog, socket := os.Args[1], os.Args[2], os.Args[3]
	log := slog.New(slog.DiscardHandler)
	if err := enterSandbox(sandboxPermissions(config, accessLog, []string{socket}), log); err != nil {
		fmt.Println("sandbox:", err)
		os.Exit(exitFailed)
	}
	try := func(what string, f func() error) {
		err := f()
		fmt.Println(what, err == nil, errors.Is(err, fs.ErrPermission))
	}
	read := func(path string) func() error {
		return func() error { _, err := os.ReadFile(path); return err }
	}
	create := func(path string) func() error {
		return func() error { return os.WriteFile(path, []byte("x"), 0o600) }
	}
	// Each on a thread of its own as well as on this one.
	done := make(chan bool)
	go func() {
		try("read the configuration:", read(config))
		try("read something else:", read("/etc/passwd"))
		done <- true
	}()
	<-done
	try("write beside the configuration:", create(config+".new"))
	try("append to the log:", func() error {
		f, err := os.OpenFile(accessLog, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err == nil {
			f.Close()
		}
		return err
	})
	try("read the log:", read(accessLog))
	try("write somewhere else:", create(filepath.Join(filepath.Dir(config), "..", "x")))
	try("remove the socket:", func() error { return os.Remove(socket) })
	try("run something:", exec.Command("/bin/true").Run)
}

func TestTheSandboxLeavesWhatIsNeeded(t *testing.T) {
	folder := t.TempDir()
	for _, sub := range []string{"etc", "log", "run"} {
		if err := os.Mkdir(filepath.Join(folder, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	config, socket := filepath.Join(folder, "etc", "millrace.toml"), filepath.Join(folder, "run", "socket")
	for _, path := range []string{config, socket} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), withoutCgo(t))
	command.Args = []string{"sandboxed", config, filepath.Join(folder, "log", "access.log"), socket}
	out, err := command.CombinedOutput()
	text := string(out)
	if err != nil {
		skipWithoutSandbox(t, text)
		t.Fatalf("%v\n%s", err, text)
	}
	want := `read the configuration: true false
read something else: false true
write beside the configuration: false true
append to the log: true false
read the log: false true
write somewhere else: false true
remove the socket: true false
run something: false true
`
	if text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// skipWithoutSandbox skips the test if what a process said means that there can be no sandbox here.
func skipWithoutSandbox(t *testing.T, said string) {
	t.Helper()
	if strings.Contains(said, "needs Landlock") && os.Getenv("CI") == "" {
		t.Skip("this kernel has no Landlock")
	}
}

// withoutCgo builds this test binary as millrace is built: with cgo, which the race detector needs, there is no
// sandbox.
func withoutCgo(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "millrace")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func TestProcessServesInItsSandbox(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("PATH", filepath.Dir(withoutCgo(t))+":"+os.Getenv("PATH"))
	p, url := runWith(t, "sandbox = true", folder)
	first := says(t, p.stderr, `"msg":"(the file system is out of reach|cannot start.*)`)
	skipWithoutSandbox(t, first)
	says(t, p.stderr, `"msg":"serving"`)
	for _, got := range p.threads("NoNewPrivs") {
		if got != "1" {
			t.Errorf("a thread has NoNewPrivs %s", got)
		}
	}
	wantOK(t, url+"/before")
	wantRotation(t, p, url, folder)
	p.signal(syscall.SIGTERM)
	p.exits(exitOK)
}

func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	log := slog.New(slog.DiscardHandler)
	t.Setenv("GOMEMLIMIT", "")
	if got := limitMemory(1<<40, log); got != 1<<40 || debug.SetMemoryLimit(-1) != 1<<40 {
		t.Errorf("with a limit: %d, in force %d", got, debug.SetMemoryLimit(-1))
	}
	// Whoever sets the variable is obeyed: the runtime has read it.
	t.Setenv("GOMEMLIMIT", "2TiB")
	debug.SetMemoryLimit(2 << 40)
	if got := limitMemory(1<<40, log); got != 2<<40 || debug.SetMemoryLimit(-1) != 2<<40 {
		t.Errorf("with GOMEMLIMIT: %d, in force %d", got, debug.SetMemoryLimit(-1))
	}
	t.Setenv("GOMEMLIMIT", "off")
	debug.SetMemoryLimit(math.MaxInt64)
	if got := limitMemory(1<<40, log); got != 0 {
		t.Errorf("with GOMEMLIMIT=off: %d", got)
	}
}
