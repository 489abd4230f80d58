package main

import (
	"bytes"
	"os"
	"testing"
)

func TestLogIsTextOnATerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminal to be had: %v", err)
	}
	defer terminal.Close()
	if !isTerminal(terminal) {
		t.Error("a terminal is not seen to be one")
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) || isTerminal(new(bytes.Buffer)) {
		t.Error("what is no terminal is seen to be one")
	}
	var log bytes.Buffer
	newLog(&log).Info("hello")
	if !bytes.HasPrefix(log.Bytes(), []byte(`{"time":`)) {
		t.Errorf("no JSON: %s", log.Bytes())
	}
}
