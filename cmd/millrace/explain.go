package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"millrace/configs"
	"millrace/internal/explain"
	"millrace/loop"
)

// inquiry is what explain is asked.
type inquiry struct {
	config, client, listener, response string
	headers                            []string
	request                            string
	json                               bool
}

// defaultClient is whom a request comes from that nobody is named for: an address for documentation (RFC 5737).
const defaultClient = "192.0.2.1"

func newExplain() *cobra.Command {
	var q inquiry
	command := &cobra.Command{
		Use:   "explain --config file [flags] request",
		Short: "Say what becomes of a request",
		Long: `explain reads a configuration file and says what run would do with a request: which
listener takes it; which routes it is held against and why each does not match; who
refuses it, and why; the backend, and the server if the request decides about it;
the head that the server gets, byte for byte; and the timeouts and limits in force,
each with the place in the file that sets it. With --response, it says what the
client gets of that response.

It opens no connection. The request takes the way through the very code that serves
requests, as if all servers were up and idle and nobody had sent a request before.
A client of a listener on all addresses has connected to 127.0.0.1.

A request is a URL, a method and a URL, or these and HTTP/1.0. What is no URL stands
in the request line as it is. Nothing is decoded, encoded or put right.

It exits with 0 when a server gets the request, 1 when the proxy refuses or answers
it itself, 2 when the file or the usage is wrong.`,
		Example: `  millrace explain --config /etc/millrace.toml 'https://www.example.org/api/x?y=1'
  millrace explain -c /etc/millrace.toml --client 203.0.113.9 -H 'Cookie: beta=1' 'POST http://www.example.org/'
  millrace explain -c /etc/millrace.toml --json --listener web 'GET /x HTTP/1.0' | jq .sent
  printf 'HTTP/1.1 302 Found\nLocation: http://app.internal/x\n' |
    millrace explain -c /etc/millrace.toml --response - http://www.example.org/`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("the request is one argument: write '%s', in quotes", strings.Join(args, " "))
			}
			return nil
		},
		DisableFlagsInUseLine: true,
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) > 0 {
				q.request = args[0]
			}
			return q.run(command)
		},
	}
	configFlag(command, &q.config)
	flags := command.Flags()
	flags.StringArrayVarP(&q.headers, "header", "H", nil, "a further `line` of the request head, \"Name: value\"; a Host takes the place of the URL's")
	flags.StringVar(&q.client, "client", defaultClient, "the `address` that the connection comes from, with or without a port")
	flags.StringVar(&q.listener, "listener", "", "the `name` of the listener; otherwise the http listener on the URL's port, or the first with its scheme, or the first")
	flags.StringVar(&q.response, "response", "", "a `file` with what the server answers, a head and perhaps a body; - is the standard input")
	flags.BoolVar(&q.json, "json", false, "print JSON; heads are strings in which each character is the byte of its number")
	return command
}

func (q *inquiry) run(command *cobra.Command) error {
	var origins configs.Origins
	plan, err := configs.Load(command.Context(), q.config, configs.WithOrigins(&origins))
	if err != nil {
		return tellProblems(command.ErrOrStderr(), err)
	}
	question, err := q.question(plan, command.Flags().Changed("client"), command.InOrStdin())
	if err != nil {
		return failure{exitWrong, err}
	}
	r := newExplanation(plan.Explain(question), &origins, question)
	if q.json {
		encoder := json.NewEncoder(command.OutOrStdout())
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		err = r.print(command.OutOrStdout())
	}
	switch {
	case err != nil:
		return failure{exitFailed, err}
	case r.Outcome == refused:
		return failure{code: exitFailed}
	}
	return nil
}

// question makes of the command line what a plan is asked. The error is about the usage.
func (q *inquiry) question(plan *loop.Plan, fromClient bool, stdin io.Reader) (loop.Question, error) {
	var question loop.Question
	request, err := explain.ParseRequest(q.request, q.headers)
	question.Listener = plan.ListenerFor(request.Scheme, request.Port)
	if q.listener != "" {
		if question.Listener, err = findListener(plan, q.listener); err != nil {
			return question, err
		}
		if plan.Listeners[question.Listener].Backend == nil {
			request, err = explain.ParseRequest(q.request, q.headers)
		} // else it parses nothing, and needs no request
	}
	switch {
	case q.request == "" && err != nil:
		return question, errors.New("a request is missing: " + explain.RequestForms)
	case err != nil:
		return question, err
	case question.Listener < 0:
		return question, errors.New("no listener parses requests: name one with --listener to see where its connections go")
	}
	question.Request = request.Bytes
	if question.Peer, err = explain.ParseClient(q.client); err != nil {
		return question, fmt.Errorf("--client: %w", err)
	}
	if plan.Listeners[question.Listener].Path != "" && !fromClient {
		question.Peer = netip.AddrPort{} // who comes by a unix socket has no address
	}
	if q.response != "" {
		if question.Response, err = readResponse(q.response, stdin); err != nil {
			return question, fmt.Errorf("--response: %w", err)
		}
	}
	return question, nil
}

func findListener(plan *loop.Plan, name string) (int, error) {
	known := make([]string, len(plan.Listeners))
	for i, l := range plan.Listeners {
		if l.Name == name {
			return i, nil
		}
		known[i] = fmt.Sprintf("%q", l.Name)
	}
	return -1, fmt.Errorf("--listener: %q is not the name of a listener: there is %s", name, strings.Join(known, ", "))
}

// readResponse reads a response from a file, or from stdin.
func readResponse(path string, stdin io.Reader) ([]byte, error) {
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		stdin = f
	}
	text, err := io.ReadAll(io.LimitReader(stdin, loop.MaxExplained/2+1))
	if err != nil {
		return nil, err
	}
	if len(text) > loop.MaxExplained/2 {
		return nil, fmt.Errorf("the response is larger than %d bytes: its head and the beginning of its body are enough", loop.MaxExplained/2)
	}
	return explain.ParseResponse(text)
}
