package conformance

import "fmt"

// Case is one row of a table.
type Case struct {
	// Group is the title of the table, File and Line the place in it.
	Group string
	File  string
	Line  int
	// Name says what is peculiar about the case. It is unique within its group.
	Name string
	// RFC is the number of an RFC and its section: "9112 6.3".
	RFC string
	// Why is a remark for readers of the table and of the report; it may be empty.
	Why string
	// Off is empty, or says why the case is not played.
	Off   string
	Steps []Step
	// Then lists how it may end: one way, unless what is right depends on how the bytes arrive.
	Then []Ending
	// Accept is what another proxy may do.
	Accept Accept
	// answered is set if the origin answers by itself: the case does not say what it sends.
	answered bool
}

// String is the case's group and name.
func (c *Case) String() string { return c.Group + ": " + c.Name }

// Forwards reports whether the origin gets a request in the course of the case.
func (c *Case) Forwards() bool {
	for _, s := range c.Steps {
		if s.Kind == OriginGets {
			return true
		}
	}
	return false
}

// StepKind is what a step does, or waits for.
type StepKind uint8

// The steps, and how a table writes them.
const (
	ClientSends     StepKind = iota // C> bytes
	OriginSends                     // O> bytes
	ClientGets                      // C< bytes: waits until the client has got exactly these, behind what it got before
	OriginGets                      // O< bytes: the same for the origin, on the connection that got bytes last
	ClientMayGet                    // C~ bytes: the client may get a beginning of these, but not all
	OriginMayGet                    // O~ bytes: the same for the origin
	UntilRead                       // ---  waits until the proxy has read what was sent
	ClientEnds                      // C! fin: the client sends no more
	ClientResets                    // C! reset
	OriginEnds                      // O! fin: the origin ends its connection
	OriginResets                    // O! reset
	OriginLosesConn                 // O! closed: waits until the proxy has closed the connection
)

// Step is one step of a case.
type Step struct {
	Kind StepKind
	Data []byte
	Line int
}

// End is what becomes of the client's connection.
type End uint8

// The ends.
const (
	Kept   End = iota // another request is answered on it
	Closed            // by a FIN
	Reset             // by a RST
)

var endNames = [...]string{Kept: "kept", Closed: "closed", Reset: "reset"}

func (e End) String() string { return endNames[e] }

// Ending is one way in which a case may end.
type Ending struct {
	// Statuses are those of all responses that the client has got; nil if ClientGets steps say what it got.
	Statuses []int
	// Cut says that the last response is incomplete.
	Cut bool
	End End
	// Origin says what becomes of the origin's connection: "kept" if the next request comes on it, "closed", or
	// empty if either is right.
	Origin string
}

func (e Ending) String() string {
	s := ""
	for _, n := range e.Statuses {
		s += fmt.Sprintf("%d ", n)
	}
	if e.Cut {
		s += "cut "
	}
	s += e.End.String()
	if e.Origin != "" {
		s += " origin " + e.Origin
	}
	return s
}

// Accept is what a proxy other than millrace may do with a case.
type Accept struct {
	// Skip is empty, or says why the case makes no sense for others.
	Skip string
	// Refuse: it may refuse the request, or the response. Answer: it may answer the request itself.
	Refuse, Answer bool
	// Forward: it may pass the message on, if what it sends is well-formed and can be read in one way only. A case
	// that millrace passes on, too, has to arrive as the same requests with the same content, and its answer with the
	// same status and content; for others, Needs says so.
	Forward bool
	// Needs is what else must hold if the message is passed on.
	Needs []Need
}

// Need is one requirement of an Accept.
type Need struct {
	Kind  string // one of needKinds
	Value string
}

// needKinds are what a Need may be about. Of the first request, as the origin got it: its body, method, target and
// host; a field line that it has, a field that it lacks, and a line of the trailer section that is not merged into its
// head. Then requests, their
// number; statuses of all responses, the interim ones too; and of the last response: its content, a field line that it
// gives and a field that it hides, and that it is seen to be incomplete; and that the connection is closed.
var needKinds = []string{
	"body", "method", "target", "host", "has", "lacks", "unmerged", "requests",
	"statuses", "content", "gives", "hides", "incomplete", "closed",
}
