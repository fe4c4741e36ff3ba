package remote_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/crypto/ssh"
)

func writeFile(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// publicKey reads the public half of a key file.
func publicKey(t testing.TB, keyFile string) ssh.PublicKey {
	t.Helper()
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(readFile(t, keyFile+".pub")))
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// authorized is a key as a line of authorized_keys or known_hosts.
func authorized(key ssh.PublicKey) string { return string(ssh.MarshalAuthorizedKey(key)) }

// hashKnownHosts hashes the names of a file, as ssh-keygen does.
func hashKnownHosts(t testing.TB, file string) {
	t.Helper()
	if out, err := exec.Command("ssh-keygen", "-H", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
