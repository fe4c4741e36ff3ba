package remote

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// What looks whether the connection is still there ends with the script: sshd waits for whoever holds a session's
// descriptors, and a csh leaves some open. Descriptor 4 stands for these; a script that ends at once leaves the loop the
// least time.
func TestNothingThatWatchesOutlivesItsScript(t *testing.T) {
	t.Parallel()
	become, err := becomeScript(Become{User: "somebody", Exe: "/nowhere/sudo"}, "m", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, script string
		code         int
	}{
		{"a script", wrapper{marker: "m", watch: "$PPID", body: "{ :; }"}.script(), 0},
		{"a user that nobody can become", become, 127},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 4 {
						runHolding(t, tt.script, tt.code)
					}
				})
			}
			wg.Wait()
		})
	}
}

// runHolding runs a script by sh and waits until nobody holds its descriptor 4 any more.
func runHolding(t *testing.T, script string, code int) {
	held, hold, err := os.Pipe()
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = held.Close() }()
	cmd := exec.Command("/bin/sh")
	cmd.Stdin, cmd.ExtraFiles = strings.NewReader(script), []*os.File{nil, hold}
	out, err := cmd.CombinedOutput()
	_ = hold.Close()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		t.Errorf("%v: %s", err, out)
	}
	if err := held.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(held); err != nil {
		t.Errorf("somebody still holds the session: %v", err)
	}
}
