//go:build vm

package vm

import (
	"bufio"
	"io"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"

	"fleetctl/enroll/tpm"
)

// user starts a program on the machine that uses the TPM, and waits until it says that it does.
func (f fleet) user(script string) (stdin io.WriteCloser, session *ssh.Session) {
	f.t.Helper()
	stdin, stdout, session, err := f.Pipe(script)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = session.Close() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "ready\n" {
		f.t.Fatalf("%s: it says %q, %v", script, line, err)
	}
	return stdin, session
}

// scansAtOnce scans by helper and by shell at once, while tbot renews and somebody has a key in the TPM.
func (c *cycle) scansAtOnce(f fleet) {
	stdin, session := f.user("held -use /dev/tpmrm0")
	stop := make(chan struct{})
	var renewals sync.WaitGroup
	renewals.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = f.Run(f.t.Context(), "systemctl kill -s HUP tbot; sleep 0.3")
			}
		}
	})
	var scans sync.WaitGroup
	for _, way := range []string{"helper", "shell"} {
		scans.Go(func() {
			r, err := f.try(exitOK, "scan", "--db", way+".db", "--identify-with", way)
			if err != nil {
				f.t.Error(err)
				return
			}
			c.check(f, r)
		})
	}
	scans.Wait()
	close(stop)
	renewals.Wait()
	_ = stdin.Close()
	if err := session.Wait(); err != nil {
		f.t.Errorf("the other user of the TPM: %v", err)
	}
	f.ready()
	c.nothingNew(f)
}

// killsHelper kills the helper while two keys of its are in the TPM: the kernel flushes them.
func (c *cycle) killsHelper(f fleet) {
	in, out, session, err := f.Pipe("identify -device /dev/tpmrm0")
	if err != nil {
		f.t.Fatal(err)
	}
	link := tpm.HelperLink(in, out)
	defer link.Release()
	if _, err := link.Read(f.t.Context(), true); err != nil {
		f.t.Fatal(err)
	}
	if _, _, err := link.Derive(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	f.root("pkill -KILL -x identify")
	if err := session.Wait(); err == nil {
		f.t.Error("it was not killed")
	}
	c.nothingNew(f)
	c.check(f, f.fleetctl(exitOK, "scan", "--db", "helper.db"))
}

// busy has somebody hold /dev/tpm0, which one process at a time may open. The resource manager's device is for others;
// who is told to use the other one gets a clear answer.
func (c *cycle) busy(f fleet) {
	stdin, _ := f.user("exec 3<>/dev/tpm0 && echo ready && cat")
	if got, err := f.Run(f.t.Context(), "exec 3<>/dev/tpm0"); err == nil || !strings.Contains(err.Error(), "busy") {
		f.t.Errorf("a second process opens it: %s %v", got, err)
	}
	for _, way := range []string{"helper", "shell"} {
		c.check(f, f.fleetctl(exitOK, "scan", "--db", way+".db", "--identify-with", way))
	}
	c.unchanged(f)
	f.inventory(map[string]any{"tpm_device": "/dev/tpm0"})
	for _, way := range []string{"helper", "shell"} {
		r := f.fleetctl(exitFailed, "scan", "--db", "busy-"+way+".db", "--identify-with", way)
		if r.Outcome != "failed" || r.Status != "tpm-busy" || !strings.Contains(r.Message, "/dev/tpm0") {
			f.t.Errorf("%+v", r)
		}
	}
	_ = stdin.Close()
	f.root("until ( exec 3<>/dev/tpm0 ) 2>/dev/null; do sleep 0.1; done")
	c.check(f, f.fleetctl(exitOK, "scan", "--db", "busy-helper.db"))
	f.inventory(nil)
	c.nothingNew(f)
}
