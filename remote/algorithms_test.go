package remote_test

import (
	"errors"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// TestListsThatLeaveNothingAreRefused names algorithms that we lack: the user ruled out all that we have.
func TestListsThatLeaveNothingAreRefused(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	for _, tt := range []struct {
		option, lacks string
		without       bool // ssh would refuse the name itself
	}{
		{"KexAlgorithms=sntrup761x25519-sha512@openssh.com", "sntrup761x25519-sha512@openssh.com", false},
		{"Ciphers=aes256-cbc,aes192-cbc", "aes256-cbc, aes192-cbc", false},
		{"MACs=umac-64@openssh.com", "umac-64@openssh.com", false},
		{"HostKeyAlgorithms=sk-ssh-ed25519@openssh.com", "sk-ssh-ed25519@openssh.com", false},
		{"PubkeyAcceptedAlgorithms=ssh-xmss@openssh.com", "ssh-xmss@openssh.com", true},
		{"CASignatureAlgorithms=ssh-xmss@openssh.com", "ssh-xmss@openssh.com", true},
		{"KexAlgorithms=-*", "nothing", false},
		{"Ciphers=-*", "nothing", false},
		{"MACs=-hmac-*,umac-*", "nothing", false},
		{"HostKeyAlgorithms=-*", "nothing", false},
		{"CASignatureAlgorithms=-*", "nothing", false},
		{"PubkeyAcceptedAlgorithms=-*", "nothing", false},
		{"Ciphers=new-cipher-2030", "new-cipher-2030", true},
	} {
		for _, ssh := range []string{"", "none"} {
			if tt.without && ssh == "" {
				continue
			}
			target := server.Target()
			target.SSHArgs = append(target.SSHArgs, "-o", tt.option)
			err := logIn(t, remote.Options{SSH: ssh, Retries: -1}, target)
			option, _, _ := strings.Cut(tt.option, "=")
			if !errors.Is(err, remote.ErrConfig) || !strings.Contains(err.Error(), option) || !strings.Contains(err.Error(), tt.lacks) {
				t.Errorf("%s, ssh %q: got %v", tt.option, ssh, err)
			}
		}
	}
}

// TestListsAreWorkedOutAsOpenSSHDoes connects to servers that have one algorithm each.
func TestListsAreWorkedOutAsOpenSSHDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ server, ours, fails string }{
		{"Ciphers aes128-cbc", "Ciphers=+aes128-cbc", "Ciphers=-aes128-*"},
		{"Ciphers aes256-ctr", "Ciphers=^aes256-ctr", "Ciphers=-aes256-ctr"},
		{"KexAlgorithms diffie-hellman-group14-sha256", "KexAlgorithms=^diffie-hellman-group14-sha256", "KexAlgorithms=-diffie-*"},
		{"MACs hmac-sha1", "MACs=+hmac-sha1", "MACs=-hmac-sha1*"},
		{"MACs hmac-sha2-512", "MACs=hmac-sha2-512", "MACs=hmac-sha2-256"},
		{"HostKeyAlgorithms ssh-ed25519", "HostKeyAlgorithms=ssh-ed25519", "HostKeyAlgorithms=-ssh-ed25519*"},
	} {
		t.Run(tt.ours, func(t *testing.T) {
			t.Parallel()
			lines := []string{tt.server}
			if strings.HasPrefix(tt.server, "MACs") {
				lines = append(lines, "Ciphers aes128-ctr") // others need no MAC
			}
			server := remotetest.StartSSHD(t, lines...)
			for _, ssh := range []string{"", "none"} {
				opts := remote.Options{SSH: ssh, Retries: -1}
				target := server.Target()
				target.SSHArgs = append(target.SSHArgs, "-o", tt.ours)
				if err := logIn(t, opts, target); err != nil {
					t.Errorf("ssh %q: %s: %v", ssh, tt.ours, err)
				}
				target.SSHArgs = append(server.Target().SSHArgs, "-o", tt.fails)
				if err := logIn(t, opts, target); err == nil {
					t.Errorf("ssh %q: %s was let by", ssh, tt.fails)
				}
			}
		})
	}
}

func TestKeysSignOnlyAsTheUserAllows(t *testing.T) {
	t.Parallel()
	server := remotetest.StartSSHD(t)
	key := server.Dir + "/rsa"
	remotetest.KeyGen(t, key, "rsa", "-b", "2048")
	server.Addf("authorized_keys", "%s", strings.TrimSpace(readFile(t, key+".pub")))
	for _, tt := range []struct {
		key, option string
		want        error
	}{
		{server.KeyFile, "PubkeyAcceptedAlgorithms=ssh-ed25519", nil},
		{server.KeyFile, "PubkeyAcceptedAlgorithms=-ssh-ed25519", remote.ErrAuth},
		{key, "PubkeyAcceptedAlgorithms=rsa-sha2-256", nil},
		{key, "PubkeyAcceptedAlgorithms=ssh-rsa", remote.ErrAuth}, // which sshd does not take
		{key, "PubkeyAcceptedAlgorithms=ssh-ed25519", remote.ErrAuth},
	} {
		target := server.Target()
		target.PrivateKeyFile = tt.key
		target.SSHArgs = append(target.SSHArgs, "-o", tt.option)
		if err := logIn(t, remote.Options{}, target); !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
			t.Errorf("%s: got %v, want %v", tt.option, err, tt.want)
		}
	}
}
