package configs

import (
	"fmt"
	"strings"

	"millrace/balance"
)

// statusFlags are the words of a server's status with Apache's letters for them, in the order of the manual.
var statusFlags = []struct {
	word   string
	letter byte
	flag   balance.Status
}{
	{"disabled", 'D', balance.Disabled},
	{"stopped", 'S', balance.Stopped},
	{"drain", 'N', balance.Draining},
	{"standby", 'H', balance.Standby},
	{"spare", 'R', balance.Spare},
	{"ignore-errors", 'I', balance.IgnoreErrors},
}

const statusHelp = `allowed are the words "disabled", "stopped", "drain", "standby", "spare" and "ignore-errors", separated by blanks, ` +
	`or Apache's letters D, S, N, H, R, I and E with + and -`

// parseStatus reads a server's status: words, or letters as Apache has them, where a sign is for all letters up to the
// next. It returns what is wrong, or nothing.
func parseStatus(text string) (status balance.Status, wrong string) {
	words := strings.Fields(text)
	known := 0
	for _, word := range words {
		for _, f := range statusFlags {
			if word == f.word {
				status |= f.flag
				known++
			}
		}
	}
	switch {
	case len(words) == 0:
		return 0, fmt.Sprintf("%s says nothing: leave it out, or %s", quoted(text), statusHelp)
	case known == len(words):
		return status, ""
	case known > 0 || len(words) > 1:
		return 0, fmt.Sprintf("%s is not a status: %s", quoted(text), statusHelp)
	}
	return parseStatusLetters(text)
}

func parseStatusLetters(text string) (status balance.Status, wrong string) {
	set, signed := true, false
	for _, c := range []byte(strings.TrimSpace(text)) {
		var flag balance.Status
		switch letter := c &^ 0x20; {
		case c == '+' || c == '-':
			if signed {
				return 0, fmt.Sprintf("%s has a sign without a letter: %s", quoted(text), statusHelp)
			}
			set, signed = c == '+', true
			continue
		case letter == 'C':
			return 0, fmt.Sprintf(`%s: C is what failed health checks set, see [backend.NAME.health]; to keep a server out of use, write "disabled"`, quoted(text))
		case letter == 'E':
			// A server that begins in error is tried by the first request, so that nothing is to be set.
		default:
			for _, f := range statusFlags {
				if f.letter == letter {
					flag = f.flag
				}
			}
			if flag == 0 {
				return 0, fmt.Sprintf("%s is not a status: %s", quoted(text), statusHelp)
			}
		}
		signed = false
		if set {
			status |= flag
		} else {
			status &^= flag
		}
	}
	if signed {
		return 0, fmt.Sprintf("%s has a sign without a letter: %s", quoted(text), statusHelp)
	}
	return status, ""
}
