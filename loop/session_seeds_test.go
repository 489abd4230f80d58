package loop

import "strings"

// sessionScripts are what FuzzSession starts from: one for each thing that a script can lead to. Without a fuzzer,
// they are tests of their own.
var sessionScripts = func() (scripts []string) {
	const (
		get      = "cGET /$ HTTP/1.1\r\nHost: a\r\n\r\n"
		head     = "cHEAD /$ HTTP/1.1\r\nHost: a\r\n\r\n"
		old      = "cGET /$ HTTP/1.0\r\nHost: a\r\n\r\n"
		oldKept  = "cGET /$ HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
		post     = "cPOST /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nbody: $"
		put      = "cPUT /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n$"
		postHead = "cPOST /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 512\r\n\r\n"
		putHead  = "cPUT /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n"
		chunked  = "cPOST /$ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n$\r\n6\r\n$\r\n0\r\nX-A: b\r\n\r\n"
		expects  = "cPOST /$ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n"
		absolute = "cGET http://b/$ HTTP/1.1\r\nHost: a\r\n\r\n"
		both     = "cPOST /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /$ HTTP/1.1\r\nHost: a\r\n\r\n"
		smuggle  = "cPOST /$ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"

		ok      = "oHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n$"
		okHead  = "oHTTP/1.1 200 OK\r\nX-Tag: $\r\nContent-Length: 6\r\n\r\n"
		okClose = "oHTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n$"
		chunks  = "oHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n$\r\n6\r\n$\r\n0\r\nX-A: b\r\n\r\n"
		until   = "oHTTP/1.1 200 OK\r\n\r\nuntil the end: $"
		oldOK   = "oHTTP/1.0 200 OK\r\n\r\nuntil the end: $"
		large   = "oHTTP/1.1 200 OK\r\nContent-Length: 32768\r\n\r\n^\x80"
		goOn    = "oHTTP/1.1 100 Continue\r\n\r\n"
		hints   = "oHTTP/1.1 103 Early Hints\r\nLink: </$>\r\n\r\n"
		nothing = "oHTTP/1.1 204 No Content\r\nX-Tag: $\r\n\r\n"
		same    = "oHTTP/1.1 304 Not Modified\r\nX-Tag: $\r\nContent-Length: 6\r\n\r\n"
	)
	pieces := func(size byte, command string) string {
		return map[byte]string{'c': "d", 'o': "e"}[command[0]] + string([]byte{size}) + command[1:]
	}
	for _, commands := range [][]string{
		{get, "q", ok, "q", get, "q", ok, "f"},
		{pieces(1, get[:20]), pieces(7, "c"+get[20:]), pieces(5, ok)},
		{get, "q", pieces(1, chunks[:30]), pieces(3, "o"+chunks[30:])},
		{pieces(16, chunked), "q", pieces(16, chunks)},
		{pieces(9, post), "q", ok},
		// Pipelined, and several clients at once.
		{get, post[0:1] + get[1:] + post[1:] + chunked[1:], "q", ok, "q", ok, "q", chunks, "q", okClose},
		{get, "n", get, "n", post, "q", ok, "m", ok, "m", ok, "q", "0", get, "1", get, "q", ok, "m", ok},
		{get, "q", ok, "n", get, "q", ok, "1", get, "0", get},
		// Heads and bodies without a body, or until the end.
		{head, "q", okHead, "q", get, "q", nothing, "q", get, "q", same, "q", head, "q", okHead},
		{get, "q", until, "q", "F"},
		{get, "q", until, "R"},
		{old, "q", until, "q", "F"},
		{old, "q", chunks},
		{old, "q", chunks[:70], "q", "R"},
		{oldKept, "q", oldOK, "F", "q"},
		{oldKept, "q", ok, "q", oldKept, "q", ok},
		// Interim responses.
		{expects, "q", goOn, "q", "c$", "q", ok},
		{expects, "q", ok, "q", "c$"},
		{get, "q", hints, hints, "q", hints, ok},
		{get, "q", pieces(11, hints), pieces(11, ok)},
		// Early answers.
		{postHead, "q", ok, "q", "c^\x02", get, "q", ok},
		{postHead, "q", ok, "F", "q", "c^\x01"},
		{postHead, "q", okClose, "R", "c^\x02", get},
		// The origin leaves: before, within, between, and as a request is on its way.
		{get, "q", "F", "q", ok},
		{get, "q", "R", "q", ok},
		{get, "q", "F", "q", "F", "q", ok},
		{post, "q", "F"},
		{post, "q", "R", "q", ok},
		{put, "q", "R", "q", ok},
		{postHead, "q", "R", "q", "c^\x02", "q", ok},
		{putHead, "q", "c$", "q", "R", "q", "c$", "q", ok},
		{putHead, "c$", "q", "c$", "q", "R", "q", ok},
		{putHead + "$", "q", "R", "q", "c$", "q", ok},
		{get, "q", ok[:len(ok)-1], "q", "F"},
		{get, "q", ok[:len(ok)-1], "R"},
		{get, "q", chunks[:60], "F"},
		{get, "q", ok, "q", "F", get, "q", ok},
		{get, "q", ok, "q", "F", post, "q", ok},
		{get, "q", ok, "q", post, "F", "q", ok},
		{get, "q", ok, "q", get, "R", "q", ok},
		{get, "q", ok, "q", post, "R", "q", ok},
		{get, "q", ok, "F", get, "q", ok},
		// What nobody asked for.
		{get, "q", ok + ok[1:], "q", get, "q", ok},
		{get, "q", ok, ok, get, "q", ok},
		{get, "q", ok, "q", ok, "q", get, "q", ok},
		{get, "q", ok, "q", ok, post, "q", ok},
		{"q", ok, "q", get, "q", ok},
		// The client leaves.
		{get, "f", "q", ok},
		{get, "r", "q", ok},
		{get, "q", ok[:20], "q", "r", "o" + ok[20:]},
		{postHead, "q", "f"},
		{postHead, "q", "r"},
		{postHead, "q", "f", ok},
		{get[:12], "f"},
		{get[:12], "r"},
		{get, "q", ok, "f", "q"},
		{get + post[1:] + get[1:], "f", "q", ok, "q", ok, "q", ok},
		// One of them takes its time.
		{"s", "p", get, "q", large, "q", large, "q", "P", "q"},
		{"p", get, "q", "s", large, "q", large, "P", "q", get, "q", large, "q"},
		{"p", get, "q", "s", large, "q", "F", "q", "P", "q", get, "q", ok},
		{"p", get, "q", "s", large, "R", "q", "P", "q"},
		{"p", get, "q", "s", large, "q", "r"},
		{"p", get, "q", "s", large, "q", get, "q", "P", "q", ok},
		{"p", old, "q", "s", "oHTTP/1.1 200 OK\r\n\r\n^\x80", "R", "q", "P", "q"},
		{"p", get, "q", "s", "oHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n^\x80\r\n0\r\n\r\n", "q", "P", "q", get, "q", ok},
		{"cPOST /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 32768\r\n\r\n^\x80", "q", ok},
		{"cPOST /$ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n", "s", "q", "c^\x80\r\n0\r\n\r\n" + get[1:], "q", ok, "q", ok},
		// What is refused.
		{both, "q", ok},
		{smuggle, "q", ok},
		{"cGET /$ HTTP/1.1\r\n\r\n"},
		{"cGET /$ HTTP/2.0\r\nHost: a\r\n\r\n"},
		{"cCONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" + get[1:], "q", ok},
		{"cGET /$\r\n X: y\r\n\r\n"},
		{"cGET /$ HTTP/1.1\r\nHost: a\r\nX: ^\x20\r\n\r\n"},
		{"cPOST /$ HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n"},
		{"cPOST /$ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"},
		{"cPOST /$ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n$\r\nzz\r\n", "q", ok},
		{absolute, "q", ok},
		{"c\r\n\r\n" + get[1:], "q", ok},
		{"cOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "q", ok},
		{"cGET /$ HTTP/1.0\r\n\r\n", "q", ok},
		// Responses that are wrong.
		{get, "q", "oHTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{get, "q", "oHTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\n$$"},
		{get, "q", "oHTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"},
		{get, "q", "oHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n$\r\nzz"},
		{get, "q", "onot HTTP at all\r\n\r\n"},
		{get, "q", "oHTTP/1.1 200 OK\r\nX: ^\x20\r\n\r\n"},
	} {
		scripts = append(scripts, strings.Join(commands, "\x00"))
	}
	return scripts
}()
