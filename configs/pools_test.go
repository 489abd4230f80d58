package configs

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"millrace/loop"
)

const one = "servers = ['10.0.0.1']\n"

func TestProblemsOfConnections(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{one + "max_requests = 1", `f:8:16: backend.app.max_requests: 1 is a connection for each request: write disable_reuse = true`},
		{one + "max_requests = -1", `f:8:16: backend.app.max_requests: -1 is too small: allowed are 0 for no limit, or 2 to 1000000000`},
		{one + "max_age = '1000h'", `f:8:11: backend.app.max_age: "1000h" is too large: allowed are 0 for no limit, or 1ms to 720h`},
		{one + "disable_reuse = true\nttl = '1s'", `f:9:1: backend.app.ttl: has no effect with disable_reuse = true: no connection is kept`},
		{one + "disable_reuse = true\nmax_age = '1s'", `f:9:1: backend.app.max_age: has no effect with disable_reuse`},
		{one + "min_idle = 20000", `f:8:12: backend.app.min_idle: 20000 is too large: allowed are 0 for none, or 1 to 10000`},
		{one + "min_idle = 4\nmax = 3", `f:8:12: backend.app.min_idle: 4 connections cannot be idle where 3 is the max of a server (f:7:12)`},
		{one + "min = 4", `f:8:1: backend.app.min: is min_idle here`},
		{one + "disable_reuse = true\nmin_idle = 1", `f:9:1: backend.app.min_idle: has no effect with disable_reuse`},
		{one + "max = -1", `f:8:7: backend.app.max: -1 is too small: allowed are 0 for no limit, or 1 to 1000000`},
		{one + "queue = 5", `f:8:1: backend.app.queue: has no effect without max or server_wait_timeout: nobody has to wait`},
		{one + "queue = 0", `f:8:1: backend.app.queue: has no effect without max or server_wait_timeout: nobody has to wait`},
		{one + "server_wait_timeout = 5", `f:8:23: backend.app.server_wait_timeout: 5 has no unit`},
		{one + "server_wait_timeout = '31d'", `f:8:23: backend.app.server_wait_timeout: "31d" is not a duration`},
		{one + "server_wait_timeout = '800h'", `f:8:23: backend.app.server_wait_timeout: "800h" is too large: allowed are 0 for not at all, or 1ms to 720h`},
		{one + "server_wait_timeout = '1s'\nqueue_timeout = '1s'", `f:9:1: backend.app.queue_timeout: has no effect without max: nobody has to wait`},
		{one + "server_wait_timeout = '1s'\nqueue = 0", `f:8:1: backend.app.server_wait_timeout: has no effect with queue = 0: nobody waits`},
		{one + "timeout = '3s'", `f:8:1: backend.app.timeout: of a balancer is server_wait_timeout here`},
		{one + "worker_wait_timeout = '3s'", `f:8:1: backend.app.worker_wait_timeout: is server_wait_timeout here`},
		{one + "max = 0\nqueue_timeout = '1s'", `f:9:1: backend.app.queue_timeout: has no effect without max`},
		{one + "max = 1\nqueue = 0\nqueue_order = 'adaptive'", `f:10:1: backend.app.queue_order: has no effect with queue = 0: nobody waits`},
		{one + "max = 1\nqueue_order = 'lifo'", `f:9:15: backend.app.queue_order: "lifo" is not an order: allowed are "fifo" and "adaptive"`},
		{one + "max = 1\nqueue_timeout = 5", `f:9:17: backend.app.queue_timeout: 5 has no unit`},
		{"[[backend.app.server]]\naddress = '10.0.0.1'\nmax = -2", `f:9:7: backend.app.server[0].max: -2 is too small`},
		{one + "max = 1\nacquire = '1s'", `f:9:1: backend.app.acquire: is queue_timeout here; queue is how many may wait`},
		{one + "io_buffer = '8KiB'", `f:8:1: backend.app.io_buffer: has no meaning here: a response goes on as it comes`},
		{one + "iobuffersize = 8192", `f:8:1: backend.app.iobuffersize: has no meaning here`},
		{one + "receivebuffersize = 8192", `f:8:1: backend.app.receivebuffersize: is receive_buffer of [backend.NAME.socket] here`},
		{one + "min_idle = 2\nsend_proxy = 'v2'", `f:8:1: backend.app.min_idle: has no effect with send_proxy or transparent = true`},
		{one + "health_check = true", `f:8:1: backend.app.health_check: is the table [backend.NAME.health] here`},
		{"[[backend.app.server]]\naddress = '10.0.0.1'\nfail_timeout = '10s'", `f:9:1: backend.app.server[0].fail_timeout: is disable_time here`},
		{one + "lbmethod = 'byrequests'", `f:8:1: backend.app.lbmethod: is balance here`},
		{one + "connectiontimeout = '1s'", `f:8:1: backend.app.connectiontimeout: is connect of [backend.NAME.timeouts] here`},
		{"[[backend.app.server]]\naddress = '10.0.0.1'\nloadfactor = 2.5", `f:9:1: backend.app.server[0].loadfactor: is weight of a server here, a whole number`},
		{"[[backend.app.server]]\naddress = '10.0.0.1'\nbackup = true", `f:9:1: backend.app.server[0].backup: is status of a server here: "standby"`},
		{one + "enablereuse = true", `f:8:1: backend.app.enablereuse: is what is done unless disable_reuse = true`},
	} {
		got := problemsOf(t, balanced(c.lines))
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s\ngave\n%s\nwant only\n%s", c.lines, got, c.want)
		}
	}
}

func TestConnectionsGetIntoThePlan(t *testing.T) {
	for _, c := range []struct {
		lines string
		reuse *loop.Reuse
	}{
		{"", nil},
		{"disable_reuse = true", &loop.Reuse{MaxRequests: 1}},
		{"max_requests = 7\nmax_age = '5m'", &loop.Reuse{MaxRequests: 7, MaxAge: 5 * time.Minute}},
	} {
		b := parseOK(t, balanced(one+c.lines), nil).Backends[0]
		if !reflect.DeepEqual(b.Reuse, c.reuse) {
			t.Errorf("%q: reuse %+v", c.lines, b.Reuse)
		}
	}
}

func TestLimitsGetIntoThePlan(t *testing.T) {
	const servers = "[[backend.app.server]]\naddress = '10.0.0.1'\n[[backend.app.server]]\naddress = '10.0.0.2'\nmax = 3\n"
	for _, c := range []struct {
		lines string
		want  *loop.Limit
		most  []int
	}{
		{two, nil, []int{0, 0}},
		{two + "max = 0", nil, []int{0, 0}},
		{two + "max = 5", &loop.Limit{Queue: 1024, QueueTimeout: 10 * time.Second}, []int{5, 5}},
		{"max = 5\nqueue = 7\nqueue_timeout = '0'\nqueue_order = 'adaptive'\n" + servers, &loop.Limit{Queue: 7, Adaptive: true}, []int{5, 3}},
		{one + "server_wait_timeout = '3s'\nqueue = 7", &loop.Limit{Queue: 7, QueueTimeout: 10 * time.Second, ServerWait: 3 * time.Second}, []int{0}},
		{"queue = 0\n" + servers, &loop.Limit{QueueTimeout: 10 * time.Second}, []int{0, 3}},
	} {
		b := parseOK(t, balanced(c.lines), nil).Backends[0]
		var most []int
		for _, s := range b.Servers {
			most = append(most, s.Max)
		}
		if !reflect.DeepEqual(b.Limit, c.want) || !slices.Equal(most, c.most) {
			t.Errorf("%q: %+v of %v, want %+v of %v", c.lines, b.Limit, most, c.want, c.most)
		}
	}
}
