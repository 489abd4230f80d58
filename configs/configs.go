// Package configs is the only code that knows TOML: it turns the configuration file into an immutable
// [loop.Plan], or into every problem that the file has.
//
// A file goes through four steps, one source file each:
//
//	decode     strictly: unknown keys, wrong types, units            decode.go, scalar.go
//	default    what the file leaves open                             default.go
//	validate   ranges, references, contradictions, name resolution   validate.go, resolve.go
//	compile    into the plan                                         compile.go
//
// No step stops at the first problem: what one step could not read, the next ones skip, so that one run of
// "millrace check" shows everything that has to be changed. Only bytes that are not TOML end it early.
//
//	plan, err := configs.Load(ctx, "/etc/millrace.toml")
//	if problems, ok := errors.AsType[configs.Problems](err); ok { ... }
//
// The model of the file is in model.go; its struct tags are the list of keys. docs/configuration.md is the
// manual, and a test holds it against the model.
//
// The package opens no sockets but the resolver's, and touches no files but the one it is asked to load and those that
// say how names are resolved: that an address can be bound, or a log file written, only shows at start.
package configs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"millrace/internal/resolve"
	"millrace/loop"
)

// maxFileBytes bounds a configuration file: some hundred thousand routes. What is larger is a mistake, such as
// the path of a log.
const maxFileBytes = 16 << 20

// Resolver finds the servers that are given by name. [resolve.Resolver] is one.
type Resolver interface {
	// Lookup returns what a name comes to when the file is compiled.
	Lookup(ctx context.Context, q resolve.Query) (resolve.Answer, error)
	// The plan takes it along, for as long as it is in use.
	loop.Resolver
}

// Option changes how [Load] and [Parse] work.
type Option func(*options)

type options struct {
	resolver  Resolver
	warnings  *Problems
	origins   *Origins
	runTests  bool
	fileLimit uint64 // descriptors that the process may open; 0 when it is not known
}

// WithResolver makes [Load] resolve the names of servers with r, whatever the file says of resolving.
func WithResolver(r Resolver) Option {
	return func(o *options) { o.resolver = r }
}

// WithWarnings stores in dst, in order of position, what is allowed but hardly meant: a backend that no route
// uses, a route that nothing reaches, more connections than descriptors. They come with a plan as well as with
// problems.
func WithWarnings(dst *Problems) Option {
	return func(o *options) { o.warnings = dst }
}

// Load reads and compiles the file at path. The error is always of type [Problems]. Names are resolved, for at
// most 10 seconds.
func Load(ctx context.Context, path string, opts ...Option) (*loop.Plan, error) {
	data, err := readFile(path)
	if err != nil {
		var inFile *fs.PathError
		if errors.As(err, &inFile) {
			err = inFile.Err // the path is in the problem already
		}
		return nil, Problems{{File: path, Message: "cannot be read: " + err.Error(), cause: err}}
	}
	o := options{fileLimit: fileLimit()}
	return parse(ctx, path, data, o, opts)
}

// Parse compiles the configuration in data; name stands for the file in positions. r resolves the names of
// servers; if it is nil, one does that goes by what the configuration says of it. The error is always of type [Problems].
func Parse(ctx context.Context, name string, data []byte, r Resolver, opts ...Option) (*loop.Plan, error) {
	return parse(ctx, name, data, options{resolver: r}, opts)
}

func parse(ctx context.Context, name string, data []byte, o options, opts []Option) (*loop.Plan, error) {
	for _, option := range opts {
		option(&o)
	}
	r := &report{src: newSource(name, data)}
	plan := r.parse(ctx, o)
	if o.warnings != nil {
		*o.warnings = sorted(r.warnings)
	}
	if len(r.problems) > 0 {
		return nil, sorted(r.problems)
	}
	return plan, nil
}

// parse runs the four steps. The plan is of no use when there are problems.
func (r *report) parse(ctx context.Context, o options) *loop.Plan {
	f := decode(r)
	if f == nil {
		return nil
	}
	f.setDefaults()
	validate(r, f, o.fileLimit)
	if o.resolver == nil {
		o.resolver = resolve.New(f.Resolver.options())
	}
	findServers(ctx, r, f, o.resolver)
	if len(r.problems) > 0 {
		return nil
	}
	plan := compile(r, f, o.resolver)
	if o.origins != nil && len(r.problems) == 0 {
		o.origins.fill(r, f)
	}
	if o.runTests && len(r.problems) == 0 {
		runTests(r, f, plan)
	}
	return plan
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("larger than %s", formatSize(maxFileBytes))
	}
	return data, err
}

// fileLimit is the number of descriptors that the process can raise its limit to.
func fileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Max
}
