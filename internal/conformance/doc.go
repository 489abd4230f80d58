// Package conformance holds millrace, and other proxies, against RFC 9110 and RFC 9112: tables of cases, each of which
// says byte for byte what a client and an origin do, and what has to come of it.
//
// The tables are testdata/*.cases; [Parse] documents their format. A case is played by [Runner.Play] between a proxy
// that runs as a process and an origin of this package's own, which records what it gets. The tests of this package
// play every case against the real binary, with the bytes whole, one at a time, and split in two at every place.
// The command compare plays the same cases against nginx, HAProxy, lighttpd and Apache httpd and writes
// docs/conformance.md.
//
// millrace is held to one answer for each case: the one that its own documents promise. Another proxy is held to what
// the RFCs leave open to it, see [Case.Accept].
//
// The package reads HTTP with code of its own (message.go), which shares nothing with millrace's parser: a judge must
// not be related to the accused. It is slow and strict, and knows one reading of each byte or none.
//
// Limitations: HTTP/1 over TCP on loopback, Linux only, since it asks the kernel whether bytes were read (sock_diag).
package conformance
