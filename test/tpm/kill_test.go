package tpm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"fleetctl/enroll/tpm"
)

// gate is a TPM that stops before it answers one command: what happens meanwhile happens in the middle of it.
type gate struct {
	Socket  string
	Reached chan uint32   // gets the command's code
	Go      chan struct{} // is waited for
	retries int           // how often every command gets TPM_RC_RETRY first

	mu   sync.Mutex
	seen int
	stop int // the command to stop at; -1: none
}

// behind puts a gate before an emulator.
func (e *emulator) behind(t testing.TB, stop int) *gate {
	t.Helper()
	g := &gate{
		Socket:  filepath.Join(filepath.Dir(e.Socket), fmt.Sprintf("gate%d", stop)),
		Reached: make(chan uint32, 1), Go: make(chan struct{}), stop: stop,
	}
	l, err := net.Listen("unix", g.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				for g.pass(c, e.Socket) == nil {
				}
			})
		}
	})
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	return g
}

func (g *gate) pass(c net.Conn, to string) error {
	command, err := readFrame(c)
	if err != nil {
		return err
	}
	for range g.retries {
		if _, err := c.Write([]byte{0x80, 0x01, 0, 0, 0, 10, 0, 0, 0x09, 0x22}); err != nil {
			return err
		}
		if command, err = readFrame(c); err != nil {
			return err
		}
	}
	tpm, err := net.Dial("unix", to)
	if err != nil {
		return err
	}
	defer tpm.Close()
	if _, err := tpm.Write(command); err != nil {
		return err
	}
	response, err := readFrame(tpm)
	if err != nil {
		return err
	}
	tpm.Close()
	g.mu.Lock()
	now := g.seen == g.stop
	g.seen++
	g.mu.Unlock()
	if now {
		g.Reached <- binary.BigEndian.Uint32(command[6:])
		<-g.Go
	}
	_, err = c.Write(response)
	return err
}

// Every way to end, in the middle of every command of a scan that derives and proves.
func TestNothingStaysInTheTPMHoweverAScanEnds(t *testing.T) {
	ends := map[string]func(*process){
		"stdin ends":         func(p *process) { p.In.Close() },
		"SIGTERM":            func(p *process) { _ = p.Process.Signal(syscall.SIGTERM) },
		"SIGHUP":             func(p *process) { _ = p.Process.Signal(syscall.SIGHUP) },
		"SIGINT":             func(p *process) { _ = p.Process.Signal(syscall.SIGINT) },
		"stdout is closed":   func(p *process) { p.Out.(interface{ Close() error }).Close() },
		"controller is gone": func(p *process) { p.In.Close(); p.Out.(interface{ Close() error }).Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := start(t, bare)
			before := e.contents(t)
			for i := 0; ; i++ {
				if !interrupted(t, e, i, end) {
					if i < 14 {
						t.Errorf("a scan has only %d commands", i)
					}
					return
				}
				e.unchanged(t, before)
				if t.Failed() {
					t.Fatalf("after command %d", i)
				}
			}
		})
	}
}

// interrupted ends a scan in the middle of its command number i; false: it has fewer.
func interrupted(t *testing.T, e *emulator, i int, end func(*process)) bool {
	t.Helper()
	g := e.behind(t, i)
	p := startHelper(t, "-device", g.Socket)
	examined := make(chan error, 1)
	go func() {
		_, err := tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{Proof: true})
		examined <- err
	}()
	select {
	case <-g.Reached:
		end(p)
		close(g.Go)
	case err := <-examined:
		if err != nil {
			t.Error(err)
		}
		p.In.Close()
		_ = p.Wait()
		return false
	}
	if err := <-examined; err != nil { // not so where the helper had answered before it ended
		t.Log(err)
	}
	p.In.Close()
	_ = p.Wait()
	return true
}

func TestTheHelperWaitsWhileTheTPMAsksForPatience(t *testing.T) {
	e := start(t, bare)
	g := e.behind(t, -1)
	g.retries = 3
	p := startHelper(t, "-device", g.Socket)
	report, err := tpm.Examine(t.Context(), tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{Proof: true})
	if err != nil || !report.Proven {
		t.Errorf("%v, %+v", err, report)
	}
}

func TestAContextThatEndsEndsTheExamination(t *testing.T) {
	e := start(t, bare)
	before := e.contents(t)
	g := e.behind(t, 3)
	p := startHelper(t, "-device", g.Socket)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-g.Reached
		cancel()
	}()
	_, err := tpm.Examine(ctx, tpm.HelperLink(p.In, p.Out), tpm.ExamineOptions{Proof: true})
	if !errors.Is(err, ctx.Err()) || err == nil {
		t.Errorf("got %v", err)
	}
	close(g.Go)
	p.In.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	e.unchanged(t, before)
}
