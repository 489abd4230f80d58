package loop

import (
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"millrace/internal/accesslog"
)

// fails starts a plan that cannot be, and returns why. Nothing may be left open: the trace sees to it.
func (tr *trace) fails(plan *Plan) error {
	tr.Helper()
	srv, err := Start(plan, slog.New(slog.DiscardHandler))
	if err == nil {
		tr.Cleanup(func() { srv.Drain(tr.Context()) })
		tr.Fatal("it starts")
	}
	return err
}

func TestAnAddressInUseIsNamed(t *testing.T) {
	tr := newTrace(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	plan := setup{loops: 2}.plan(&proxy{tr: tr}, []any{"127.0.0.1:1"})
	// One that is well comes first: it must not stay open.
	second := &Listener{
		Index: 1, Name: "second", Timeouts: &Timeouts{}, Position: "millrace.toml:12:11",
		Address: netip.MustParseAddrPort(taken.Addr().String()),
	}
	plan.Listeners = append(plan.Listeners, second)
	err = tr.fails(plan)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "second") || !strings.HasPrefix(err.Error(), "millrace.toml:12:11: ") {
		t.Errorf("the error is %q", err)
	}
}

func TestAnAddressOfAnotherProxyIsInUse(t *testing.T) {
	// SO_REUSEPORT alone would let both have it.
	tr := newTrace(t)
	p := tr.proxy(setup{}, "127.0.0.1:1")
	plan := setup{address: p.srv.Addrs()[0].String()}.plan(&proxy{tr: tr}, []any{"127.0.0.1:1"})
	if err := tr.fails(plan); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the error is %q", err)
	}
}

func TestAnAccessLogThatCannotBeOpenedIsNamed(t *testing.T) {
	tr := newTrace(t)
	plan := setup{}.plan(&proxy{tr: tr}, []any{"127.0.0.1:1"})
	format, err := accesslog.Compile("common")
	if err != nil {
		t.Fatal(err)
	}
	plan.AccessLog = &AccessLog{Path: filepath.Join(t.TempDir(), "nowhere", "access.log"), Format: format}
	if err := tr.fails(plan); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the error is %q", err)
	}
}

func TestAUnixSocketIsReplacedOnlyIfNobodyListens(t *testing.T) {
	start := func(tr *trace, path string) error {
		plan := setup{}.plan(&proxy{tr: tr}, []any{"127.0.0.1:1"})
		plan.Listeners[0].Address, plan.Listeners[0].Path = netip.AddrPort{}, path
		srv, err := Start(plan, slog.New(slog.DiscardHandler))
		if err == nil {
			err = srv.Drain(tr.Context())
		}
		return err
	}
	t.Run("left behind", func(t *testing.T) {
		tr := newTrace(t)
		path := filepath.Join(t.TempDir(), "socket")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		if err := start(tr, path); err != nil {
			t.Error(err)
		}
	})
	t.Run("in use", func(t *testing.T) {
		tr := newTrace(t)
		path := filepath.Join(t.TempDir(), "socket")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if err := start(tr, path); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error is %v", err)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	})
	t.Run("no socket", func(t *testing.T) {
		tr := newTrace(t)
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := start(tr, path); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("the error is %v", err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
			t.Errorf("the file has become %q, %v", got, err)
		}
	})
}

func TestAListenerOnAllAddressesServesBothFamilies(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here")
	} else {
		l.Close()
	}
	tr := newTrace(t)
	o := tr.origin()
	p := tr.proxy(setup{address: "[::]:0", record: "$client_addr"}, o)
	_, port, err := net.SplitHostPort(p.srv.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	var x *peer
	for _, ip := range []string{"127.0.0.1", "::1"} {
		c := tr.connect("tcp", net.JoinHostPort(ip, port))
		c.send(get("/"))
		if x == nil {
			x = o.accept()
		}
		if r := x.wantRequest("GET /", ""); r.Header.Get("X-Forwarded-For") != ip {
			t.Errorf("X-Forwarded-For is %q, want %s", r.Header.Get("X-Forwarded-For"), ip)
		}
		x.send(ok("fine"))
		c.want(200, "fine")
		c.Close()
	}
	p.wantRecords("127.0.0.1", "::1")
}
