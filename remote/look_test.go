package remote_test

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// TestKeysOfAHostThatIsNotKnown looks at a real sshd's keys through a jump host, records them, and holds them against what
// ssh-keygen says and ssh does.
func TestKeysOfAHostThatIsNotKnown(t *testing.T) {
	t.Parallel()
	jump := remotetest.StartSSHD(t)
	server := remotetest.StartSSHD(t)
	for _, kind := range []string{"ecdsa", "rsa"} {
		path := filepath.Join(server.Dir, kind)
		remotetest.KeyGen(t, path, kind)
		server.Addf("sshd_config", "HostKey %s", path)
	}
	server.Stop()
	server.Start()
	dir := t.TempDir()
	known := filepath.Join(dir, "sub", "known_hosts")
	target := server.Target()
	target.SSHArgs = remotetest.Isolated(known)
	config := filepath.Join(dir, "config")
	writeFile(t, config, fmt.Sprintf("Host jump\n HostName 127.0.0.1\n Port %d\n User %s\n IdentityFile %s\n UserKnownHostsFile %s\n",
		jump.Port, jump.User, jump.KeyFile, jump.Known))
	target.SSHArgs[1] = config
	target.SSHArgs = append(target.SSHArgs, "-J", "jump")
	target.PrivateKeyFile = filepath.Join(dir, "none") // nobody logs in
	d := newDialer(t, remote.Options{Retries: -1})
	if hops := d.Hops(t.Context(), target); len(hops) != 1 || hops[0].Host != "jump" {
		t.Errorf("jump hosts: %+v", hops)
	}
	found, err := d.HostKeys(t.Context(), target)
	name := fmt.Sprintf("[127.0.0.1]:%d", server.Port)
	if err != nil || len(found.Keys) != 3 || found.Known() || found.Name != name || found.Addr != fmt.Sprintf("127.0.0.1:%d", server.Port) {
		t.Fatalf("%+v, %v", found, err)
	}
	for i, file := range []string{"host", "ecdsa", "rsa"} {
		out, err := exec.Command("ssh-keygen", "-lf", filepath.Join(server.Dir, file+".pub")).Output()
		k := found.Keys[i]
		if err != nil || !strings.Contains(string(out), k.Fingerprint+" ") || !errors.Is(k.Err, remote.ErrHostKeyUnknown) {
			t.Errorf("%s: %+v, %s, %v", file, k, out, err)
		}
	}
	if strings.Contains(server.Log(), "Failed") || !strings.Contains(jump.Log(), "Accepted publickey") {
		t.Error("it was tried to log in")
	}
	if err := d.Record(t.Context(), target, found.Keys); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ssh-keygen", "-F", name, "-f", known).Output(); err != nil || strings.Count(string(out), name) < 3 {
		t.Errorf("ssh-keygen finds %s (%v)", out, err)
	}
	again, err := d.HostKeys(t.Context(), target)
	if err != nil || !again.Known() || len(again.Keys) != 1 {
		t.Errorf("then: %+v, %v", again, err)
	}
	before := readFile(t, known)
	other := found.Keys[0]
	other.Blob = newKey(t).PublicKey().Marshal()
	if err := d.Record(t.Context(), target, []remote.HostKey{other}); !errors.Is(err, remote.ErrHostKeyChanged) || readFile(t, known) != before {
		t.Errorf("another key of a known host: %v", err)
	}
}

func TestKeysOfAHostThatHasChanged(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	writeFile(t, server.Known, fmt.Sprintf("[127.0.0.1]:%d %s", server.Port, authorized(newKey(t).PublicKey())))
	found, err := newDialer(t, remote.Options{}).HostKeys(t.Context(), server.Target())
	if err != nil || len(found.Keys) != 1 || !errors.Is(found.Keys[0].Err, remote.ErrHostKeyChanged) {
		t.Errorf("%+v, %v", found, err)
	}
	target := server.Target()
	target.Port = remotetest.FreePort(t)
	if _, err := newDialer(t, remote.Options{Retries: -1}).HostKeys(t.Context(), target); !errors.Is(err, remote.ErrUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}
}
