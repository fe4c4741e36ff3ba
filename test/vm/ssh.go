package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// bootID prints what is different after each boot.
const bootID = "cat /proc/sys/kernel/random/boot_id"

// waitSSH logs in as root as soon as sshd answers, and, after a reboot, is not the one of the boot before.
func (m *Machine) waitSSH(ctx context.Context, before string) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	for {
		err := m.login()
		if err == nil {
			now, runErr := m.Run(ctx, bootID)
			if err = runErr; err == nil && now != before {
				return nil
			}
			_ = m.client.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sshd does not answer: %w, last: %w\n%s", ctx.Err(), err, m.Console())
		case <-m.qemu.exited:
			return m.qemu.failure()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// login connects to sshd as root. QEMU accepts connections before the machine does, and drops them.
func (m *Machine) login() error {
	pem, err := os.ReadFile(m.Key)
	if err != nil {
		return err
	}
	key, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(m.HostKey))
	if err != nil {
		return err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(m.Port))
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c, channels, requests, err := ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(hostKey),
	})
	if err != nil {
		_ = conn.Close()
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	m.client = ssh.NewClient(c, channels, requests)
	return nil
}

// Run runs a shell script on the machine as root and returns its standard output, without white space around it. The
// error has what it said on standard error.
func (m *Machine) Run(ctx context.Context, script string) (string, error) {
	session, err := m.client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	stop := context.AfterFunc(ctx, func() { _ = session.Close() })
	defer stop()
	var stdout, stderr bytes.Buffer
	session.Stdout, session.Stderr = &stdout, &stderr
	if err := session.Run(script); err != nil {
		return strings.TrimSpace(stdout.String()), fmt.Errorf("%s: %w\n%s%s", script, err, stdout.String(), stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Pipe starts a shell script on the machine as root, with its standard input and output in the caller's hands.
func (m *Machine) Pipe(script string) (stdin io.WriteCloser, stdout io.Reader, session *ssh.Session, err error) {
	if session, err = m.client.NewSession(); err != nil {
		return nil, nil, nil, err
	}
	if stdin, err = session.StdinPipe(); err != nil {
		return nil, nil, nil, err
	}
	if stdout, err = session.StdoutPipe(); err != nil {
		return nil, nil, nil, err
	}
	return stdin, stdout, session, session.Start(script)
}
