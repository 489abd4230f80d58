// Package arrows holds the import arrows of the architecture: its test fails when a package imports what it must not
// know of, and says why that is forbidden.
//
// It looks at what the packages themselves import, not at their tests: a test may stand anywhere and look at
// anything. An arrow that becomes right is drawn by changing the table in the test, together with the reason there
// and the map in ARCHITECTURE.md.
package arrows
