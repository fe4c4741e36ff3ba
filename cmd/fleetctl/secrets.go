package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// The environment variables that may hold secrets, besides prompts and files. Flags never do: argv is public.
const (
	envPassword       = "FLEETCTL_SSH_PASSWORD"
	envBecomePassword = "FLEETCTL_BECOME_PASSWORD"
)

func (a *app) sshPassword(c *cli.Context) (string, error) {
	if c.Bool("ask-pass") {
		return a.prompt("SSH password")
	}
	return os.Getenv(envPassword), nil
}

func (a *app) becomePassword(c *cli.Context) (string, error) {
	if c.Bool("ask-become-pass") {
		return a.prompt("become password")
	}
	if path := c.String("become-password-file"); path != "" {
		return passwordFile(path)
	}
	return os.Getenv(envBecomePassword), nil
}

// passwordFile returns the first line of a file.
func passwordFile(path string) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", inputError(fmt.Errorf("--become-password-file %s: no such file", path))
	}
	if err != nil {
		return "", inputError(fmt.Errorf("--become-password-file: %w", err))
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", inputError(fmt.Errorf("--become-password-file %s: its first line is empty", path))
	}
	return line, nil
}

// prompt asks on the terminal without echo.
func (a *app) prompt(what string) (string, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", inputError(fmt.Errorf("there is no terminal to ask for the %s: use a file or the environment "+
			"(%s, %s)", what, envPassword, envBecomePassword))
	}
	defer tty.Close()
	fmt.Fprintf(tty, "%s: ", what)
	secret, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	if err != nil {
		return "", fmt.Errorf("asking for the %s: %w", what, err)
	}
	return string(secret), nil
}

// passphrase asks for the passphrase of a key file.
func (a *app) passphrase(keyFile string) (string, error) { return a.prompt("passphrase of " + keyFile) }

// question asks at the terminal, and returns the line that somebody typed; "" at the end of the input.
func (a *app) question(ctx context.Context, text string) (string, error) {
	fmt.Fprintf(a.stderr, "fleetctl: %s: ", text)
	line := make(chan string, 1)
	go func() { // it ends with the line, or with the process
		text, _ := bufio.NewReader(a.stdin).ReadString('\n') // without a line the answer is no
		line <- strings.TrimSpace(text)
	}()
	select {
	case answer := <-line:
		return answer, nil
	case <-ctx.Done():
		fmt.Fprintln(a.stderr)
		return "", ctx.Err()
	}
}
