package child

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fleetctl/remote/remotetest/orphan"
)

func TestNothingOutlivesAProgram(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rest   string
		cancel bool
		fails  bool
	}{
		"one that ends well and leaves a child that holds the pipe": {rest: "exit 0"},
		"one that fails and leaves a child":                         {rest: "exit 7", fails: true},
		"one that waits for its child and is canceled":              {rest: "wait", cancel: true, fails: true},
		"one that does not end when it is told to":                  {rest: "trap '' TERM; while :; do sleep 0.1; done", cancel: true, fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "pid")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := exec.Command("sh", "-c", orphan.Script(file, tt.rest))
			out := &Tail{Max: 100}
			cmd.Stdout, cmd.Stderr = out, out
			done := make(chan error, 1)
			go func() { done <- Run(ctx, cmd, Options{Grace: 200 * time.Millisecond}) }()
			pid := orphan.Number(t, file)
			if tt.cancel {
				cancel()
			}
			select {
			case err := <-done:
				if (err != nil) != tt.fails || tt.cancel && !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Error("it hangs")
			}
			orphan.WantGone(t, pid)
		})
	}
}

func TestTheCauseOfAnEndIsTold(t *testing.T) {
	t.Parallel()
	late := errors.New("no answer in time")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, late)
	defer cancel()
	if err := Run(ctx, exec.Command("sleep", "1000"), Options{}); !errors.Is(err, late) {
		t.Errorf("got %v", err)
	}
	if err := Run(ctx, exec.Command("true"), Options{}); !errors.Is(err, late) {
		t.Errorf("a program was started too late: %v", err)
	}
}

func TestAProgramThatMayPromptStaysInOurProcessGroup(t *testing.T) {
	t.Parallel()
	const group = "cut -d' ' -f5 /proc/self/stat" // proc(5): pgrp
	for prompts, same := range map[bool]bool{true: true, false: false} {
		cmd := exec.Command("sh", "-c", group)
		var out strings.Builder
		cmd.Stdout = &out
		if err := Run(t.Context(), cmd, Options{Prompts: prompts}); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(out.String()) == strconv.Itoa(syscall.Getpgrp()); got != same {
			t.Errorf("prompts %v: group %s, ours %d", prompts, strings.TrimSpace(out.String()), syscall.Getpgrp())
		}
	}
}

func TestAProgramThatMayPromptIsEndedAlone(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := Run(ctx, exec.Command("sleep", "1000"), Options{Prompts: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOutputIsBoundedForARealProgram(t *testing.T) {
	t.Parallel()
	const limit, size = 64 << 10, 8 << 20
	cmd := exec.Command("sh", "-c", fmt.Sprintf("echo begin; head -c %d /dev/zero; echo end; head -c %d /dev/zero >&2; echo why >&2", size, size))
	head, tail := &Head{Max: limit}, &Tail{Max: limit}
	cmd.Stdout, cmd.Stderr = head, tail
	if err := Run(t.Context(), cmd, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := head.Bytes(); len(got) != limit || !strings.HasPrefix(string(got), "begin\n") || !head.Cut() {
		t.Errorf("the head has %d bytes, cut: %v", len(got), head.Cut())
	}
	if got := tail.String(); len(got) != limit || !strings.HasSuffix(got, "why\n") {
		t.Errorf("the tail has %d bytes", len(got))
	}
}

func TestHeadAndTailKeepTheirEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name       string
		writes     []string
		head, tail string
		cut        bool
	}{
		{"nothing", nil, "", "", false},
		{"as much as there is room for", []string{"ab", "cd"}, "abcd", "abcd", false},
		{"more in small writes", []string{"ab", "cd", "ef"}, "abcd", "cdef", true},
		{"more in one write", []string{"abcdefgh"}, "abcd", "efgh", true},
		{"more behind a little", []string{"a", "bcdefgh"}, "abcd", "efgh", true},
	} {
		h, tl := &Head{Max: 4}, &Tail{Max: 4}
		for _, w := range tt.writes {
			if n, err := io.MultiWriter(h, tl).Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("%s: wrote %d, %v", tt.name, n, err)
			}
		}
		if string(h.Bytes()) != tt.head || tl.String() != tt.tail || h.Cut() != tt.cut {
			t.Errorf("%s: %q, %q, cut %v", tt.name, h.Bytes(), tl.String(), h.Cut())
		}
	}
}

// A program that may prompt shares our group: what it started is found, and ends with it, also where the program does as it is told
// and its child doesn't.
func TestWhatAProgramThatMayPromptStartedEndsWithIt(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.Command("sh", "-c", "sh -c 'trap \"\" TERM; echo $$ >"+file+".new; mv "+file+".new "+file+"; while :; do sleep 0.1; done' & wait")
	out := &Tail{Max: 100}
	cmd.Stdout, cmd.Stderr = out, out
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cmd, Options{Prompts: true}) }()
	pid := orphan.Number(t, file)
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it hangs")
	}
	orphan.WantGone(t, pid)
}
