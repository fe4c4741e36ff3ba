package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"fleetctl/enroll/redact"
	"fleetctl/enroll/store"
	"fleetctl/inventory/ansiblecfg"
	"fleetctl/remote"
)

// The environment variables that may hold secrets, besides prompts and files. Flags never do: argv is public.
const (
	envPassword       = "FLEETCTL_SSH_PASSWORD"
	envBecomePassword = "FLEETCTL_BECOME_PASSWORD"
)

// takeSecrets takes the variables that may hold secrets out of our environment: every program that we start (ssh, a
// ProxyCommand, tctl, a hook, an inventory's script) would inherit them, and so would what those start.
func takeSecrets() map[string]string {
	secrets := map[string]string{}
	for _, v := range os.Environ() {
		name, value, _ := strings.Cut(v, "=")
		if strings.HasPrefix(name, "FLEETCTL_") && strings.Contains(name, "PASS") {
			secrets[name] = value
			_ = os.Unsetenv(name) // it fails for names that can't be
		}
	}
	return secrets
}

func (a *app) sshPassword(c *cli.Context, ansible *ansiblecfg.Config) (string, error) {
	if c.Bool("ask-pass") {
		return a.prompt(c.Context, "SSH password")
	}
	if secret := a.secrets[envPassword]; secret != "" {
		return secret, nil
	}
	if s, ok := ansible.Get(ansiblecfg.PasswordFile); ok {
		return passwordFile(s.Source+" names", s.Text())
	}
	if ansible.Bool(ansiblecfg.AskPass) {
		return a.prompt(c.Context, "SSH password")
	}
	return "", nil
}

func (a *app) becomePassword(c *cli.Context, ansible *ansiblecfg.Config) (string, error) {
	if c.Bool("ask-become-pass") {
		return a.prompt(c.Context, "become password")
	}
	if path := c.String("become-password-file"); path != "" {
		return passwordFile("--become-password-file", path)
	}
	if secret := a.secrets[envBecomePassword]; secret != "" {
		return secret, nil
	}
	if s, ok := ansible.Get(ansiblecfg.BecomePasswordFile); ok {
		return passwordFile(s.Source+" names", s.Text())
	}
	if ansible.Bool(ansiblecfg.BecomeAskPass) {
		return a.prompt(c.Context, "become password")
	}
	return "", nil
}

// passwordFile returns the first line of a file; by is who named it.
func passwordFile(by, path string) (string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", inputError(fmt.Errorf("%s %s: no such file", by, path))
	}
	if err != nil {
		return "", inputError(fmt.Errorf("%s a file: %w", by, err))
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", inputError(fmt.Errorf("%s %s: its first line is empty", by, path))
	}
	return line, nil
}

// prompt asks on the terminal without echo. When ctx ends it gives up, and the terminal is as it was.
func (a *app) prompt(ctx context.Context, what string) (string, error) {
	return a.promptOr(ctx, what, fmt.Sprintf("use a file or the environment (%s, %s)", envPassword, envBecomePassword))
}

// promptOr is prompt, with what to do where there is no terminal.
func (a *app) promptOr(ctx context.Context, what, otherwise string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", inputError(fmt.Errorf("there is no terminal to ask for the %s: %s", what, otherwise))
	}
	fd := int(tty.Fd())
	was, err := term.GetState(fd)
	if err != nil {
		return "", errors.Join(fmt.Errorf("asking for the %s: %w", what, err), tty.Close())
	}
	type answer struct {
		secret []byte
		err    error
	}
	done := make(chan answer, 1)
	fmt.Fprintf(tty, "%s: ", remote.Escape(what))
	go func() { // nothing interrupts a read of a terminal
		secret, err := term.ReadPassword(fd)
		done <- answer{secret, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(fd, was) // who typed may be gone
		fmt.Fprintln(tty)
		return "", ctx.Err() // the file stays open under the read: the run is at its end
	case a := <-done:
		fmt.Fprintln(tty)
		if err := errors.Join(a.err, tty.Close()); err != nil {
			return "", fmt.Errorf("asking for the %s: %w", what, err)
		}
		return string(a.secret), nil
	}
}

// question asks at the terminal, and returns the line that somebody typed; "" at the end of the input.
func (a *app) question(ctx context.Context, text string) (string, error) {
	fmt.Fprintf(a.stderr, "fleetctl: %s: ", remote.Escape(text))
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

// actor is who runs this command line, for the records.
func (a *app) actor(c *cli.Context) store.Actor {
	return store.Actor{By: whoIsIt(), Args: commandLine(a.args), Reason: remote.Cut(unsecret(c.String("reason")), maxReason)}
}

// Bounds of what records keep of a command line.
const (
	maxReason = 1000
	maxArgs   = 2000
)

// whoIsIt is user@host. Where the system doesn't say, the number of the user does.
func whoIsIt() string {
	name := fmt.Sprint("uid ", os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return remote.Clean(name + "@" + host)
}

// secretWord is a variable or a flag whose value is a secret by its name: ansible_ssh_pass=…, also among others in one
// argument. The name of a file that holds one is none.
var secretWord = regexp.MustCompile(`(?i)([\w.-]*(?:pass|passwd|password|passphrase|secret|credential|private_?key|api_?key)s?=)` +
	`("[^"]*"|'[^']*'|[^\s,]+)`)

// secretFlag is a flag, none of ours, whose next argument is a secret by its name.
var secretFlag = regexp.MustCompile(`(?i)^--?[\w-]*(?:password|passwd|passphrase|secret|api-key)$`)

// unsecret takes secrets out of a text.
func unsecret(text string) string {
	return redact.Secrets(secretWord.ReplaceAllString(text, "${1}(redacted)"))
}

// commandLine is a command line as the records keep it: quoted where a shell needs it, and without secrets.
func commandLine(args []string) string {
	var words []string
	hide := false
	for i, arg := range args {
		switch {
		case i == 0:
			arg = "fleetctl"
		case hide:
			arg = "(redacted)"
		default:
			arg = unsecret(arg)
		}
		hide = i > 0 && secretFlag.MatchString(args[i])
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'$`\\;&|<>*?[]#~!{}") {
			arg = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
		words = append(words, arg)
	}
	return remote.Cut(strings.Join(words, " "), maxArgs)
}
