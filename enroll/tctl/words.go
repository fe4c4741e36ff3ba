package tctl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/outcome"
	"fleetctl/remote"
)

// errorPrefix is how Teleport's tools begin an error on standard error, in red whether or not that is a terminal:
// lib/utils/cli.go@c962edff (FatalError), again @0082cf8b.
const (
	errorPrefix = "ERROR: "
	redPrefix   = "\x1b[31m" + errorPrefix + "\x1b[0m" // may stand behind a prompt, whose answer's newline is not in it
)

// colours are the control sequences of colours and styles (ECMA-48, 8.3.117).
var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// words are what tctl says when it fails: a wrapped error is a tree, the outermost message first, each inner one on a
// line of its own behind one more tab (trace.UserMessage). Without an error they are all lines.
type words struct {
	tree  []string
	isErr bool
}

// maxLines is how many lines are kept of what is no error of tctl's.
const maxLines = 10

// parseWords finds the error in what tctl wrote to standard error: the last one, with the lines up to the next empty
// one. Behind it others may speak (kubectl), before it stand warnings, alerts or a usage text.
func parseWords(stderr string) words {
	stderr = strings.ReplaceAll(stderr, redPrefix, "\n"+errorPrefix)
	lines := strings.Split(colours.ReplaceAllString(stderr, ""), "\n")
	for i, line := range slices.Backward(lines) {
		for _, prefix := range []string{errorPrefix, "User Message: "} { // the latter with tctl -d
			if first, ok := strings.CutPrefix(line, prefix); ok {
				return words{tree: tree(first, lines[i+1:]), isErr: true}
			}
		}
	}
	var all []string
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return words{tree: all[max(0, len(all)-maxLines):]}
}

// tree is an error with its causes. A warning about the proxy's certificate is a paragraph behind an empty line instead:
// lib/utils/cli.go (formatCertError).
func tree(first string, rest []string) []string {
	all := []string{strings.TrimSpace(first)}
	paragraph := all[0] == "WARNING:"
	for _, line := range rest {
		text := strings.TrimSpace(line)
		if text == "" && (!paragraph || len(all) > 1) {
			break
		}
		if text != "" {
			all = append(all, text)
		}
	}
	if paragraph {
		return []string{strings.Join(all[1:], " ")}
	}
	return all
}

func (w words) String() string {
	if w.isErr {
		return remote.Clean(strings.Join(w.tree, ": "))
	}
	return remote.Clean(strings.Join(w.tree, "; "))
}

// root is the innermost message of an error; "" for none.
func (w words) root() string {
	if !w.isErr || len(w.tree) == 0 {
		return ""
	}
	return w.tree[len(w.tree)-1]
}

// maskedToken is what the cluster says of a token that it does not have: three quarters of the name are stars
// (lib/services/local: MaskKeyName).
var maskedToken = regexp.MustCompile(`^provisioning token\((\**)(.*)\) not found$`)

// missing says whether the words are that the very resource which was asked for does not exist. Anything else that is
// not found (a host, a file, a login, another resource) is a failure: taken for an absent token, it would end with
// overwriting one.
func (w words) missing(kind, name string) bool {
	root := w.root()
	switch kind {
	case "token":
		m := maskedToken.FindStringSubmatch(root)
		return m != nil && len(m[1])+len(m[2]) == len(name) && strings.HasSuffix(name, m[2]) ||
			root == fmt.Sprintf("key %q is not found", "/tokens/"+name)
	case "bot": // is kept as a user: lib/auth/machineid, bot_service.go
		return root == fmt.Sprintf("user %q not found", "bot-"+name) ||
			root == fmt.Sprintf("key %q is not found", "/web/users/bot-"+name+"/params")
	}
	return false
}

// denied is how the cluster refuses for want of a rule in the roles of tctl's user (lib/services/role.go).
var denied = regexp.MustCompile(`access denied to perform action ["']([\w-]+)["'](?: on ["']?([\w-]+)["']?)?`)

// The server's words for other refusals: api/mfa (ErrAdminActionMFARequired); lib/auth, the tpm join method.
const (
	mfaWords        = "admin-level API request requires MFA verification"
	enterpriseWords = "this feature requires Teleport Enterprise"
)

// runError is a tctl that ended badly, with what it said.
type runError struct {
	args []string
	said words
	err  error
}

func (e *runError) Error() string {
	what := "tctl " + strings.Join(e.args, " ")
	switch {
	case len(e.said.tree) == 0:
		return fmt.Sprintf("%s: %v", what, e.err)
	case e.said.isErr:
		return fmt.Sprintf("%s: %s", what, e.said)
	}
	return fmt.Sprintf("%s: %v: %s", what, e.err, e.said)
}

func (e *runError) Unwrap() error { return e.err }

// explain gives a failure its code, and says what to do about it.
func explain(e *runError) error {
	text := e.said.String()
	switch m := denied.FindStringSubmatch(text); {
	case strings.Contains(text, mfaWords):
		return coded(outcome.MFARequired, e, "")
	case strings.Contains(text, enterpriseWords):
		return coded(outcome.NeedsEnterprise, e, "")
	case m != nil && m[2] != "":
		return coded(outcome.TctlDenied, e, fmt.Sprintf("a role of tctl's user needs the rule {resources: [%s], verbs: [%s]}", m[2], m[1]))
	case m != nil:
		return coded(outcome.TctlDenied, e, fmt.Sprintf("a role of tctl's user needs a rule with the verb %s", m[1]))
	}
	return e
}

// coded is a failure of a code with a hint; "" stands for the code's own.
func coded(code outcome.Code, err error, hint string) error {
	if hint == "" {
		hint = outcome.Lookup(code).Do
	}
	return outcome.WithHint(&outcome.Error{Reason: outcome.Reason{Code: code, Hint: hint}, Err: err}, "%s", hint)
}
