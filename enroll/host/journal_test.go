package host

import (
	"fleetctl/enroll/outcome"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// journalSamples are journals in the forms that versions 15 to 19 have, and what each says. Their words are Teleport's; values and
// line numbers are made up.
var journalSamples = map[string]struct {
	code outcome.Code
	says string // in the message
}{
	"activation":       {outcome.ActivationFailed, "could not prove"},
	"config-strict":    {outcome.BadConfig, "field credential_ttl not found in type config.BotConfig"},
	"degraded-17.5.3":  {outcome.NoRule, "no rule"},
	"ekcert-chain-new": {outcome.EKCertRefused, "EK certificate"},
	"ekcert-chain-old": {outcome.EKCertRefused, "EK certificate"},
	"enterprise":       {outcome.NeedsEnterprise, "Enterprise"},
	"flag":             {outcome.UnknownFlag, "'--pid-file'"},
	"joined-15":        {outcome.NotJoined, ""},
	"joined-18":        {outcome.NotJoined, ""},
	"lock-held":        {outcome.StorageInUse, "another tbot"},
	"no-ekcert":        {outcome.NoEKCert, "presents none"},
	"no-rule":          {outcome.NoRule, "no rule"},
	"no-tpm":           {outcome.NoTPM, "no TPM"},
	"proxy-ca":         {outcome.ClusterCertificate, "trust"},
	"roles-19":         {outcome.RolesRefused, "roles"},
	"service-16.0":     {outcome.BadConfig, "unrecognized service type (identity)"},
	"storage-denied":   {outcome.StorageDenied, "storage"},
	"token-missing":    {outcome.TokenMissing, "token"},
	"tpm-denied":       {outcome.TPMPermission, "permission denied"},
}

func journalSample(t *testing.T, name string) []string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "journal", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
}

// inTransit is what arrives of a line: the script that reads the journal makes blanks of tabs and drops what is not printable.
func inTransit(lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		l = strings.Map(func(r rune) rune {
			switch {
			case r == '\t':
				return ' '
			case r < ' ' || r > '~':
				return -1
			}
			return r
		}, l)
		if l != "" { // systemd's journal has no empty lines
			out = append(out, l)
		}
	}
	return out
}

func TestEverySampleOfAJournalIsExplained(t *testing.T) {
	files, err := filepath.Glob("testdata/journal/*.txt")
	if err != nil || len(files) != len(journalSamples) {
		t.Fatalf("%d samples, %v", len(files), err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		want := journalSamples[name]
		for form, lines := range map[string][]string{"as written": journalSample(t, name), "in transit": inTransit(journalSample(t, name))} {
			h := Health{state: "not-joined", lines: lines, storage: "/var/lib/teleport/bot"}
			got := h.Explain(0)
			if got.Code != want.code || !strings.Contains(got.Message, want.says) || got.Hint == "" {
				t.Errorf("%s, %s: got %+v, want %s", name, form, got, want.code)
			}
			if m := outcome.Lookup(got.Code); m.Means == "" || m.Severity == "" || strings.Contains(m.Do, "fleetctl") && strings.Contains(m.Do, " --") {
				t.Errorf("%s: %+v", got.Code, m)
			}
			if joined := strings.Contains(strings.Join(lines, "\n"), joinedLine); joined != strings.HasPrefix(name, "joined") {
				t.Errorf("%s: joined: %t", name, joined)
			}
		}
	}
}

// TestWhatSystemdAndTheKernelSay has what keeps a tbot from running at all, or from its files.
func TestWhatSystemdAndTheKernelSay(t *testing.T) {
	exited := "\ntbot.service: Main process exited, code=exited, status=203/EXEC\ntbot.service: Failed with result 'exit-code'."
	for _, c := range []struct {
		journal string
		code    outcome.Code
		says    string
	}{
		{"tbot.service: Failed to locate executable /root/tbot: Permission denied\ntbot.service: Failed at step EXEC spawning /root/tbot: Permission denied" + exited,
			outcome.ExecFailed, "Failed at step EXEC spawning /root/tbot: Permission denied"},
		{"tbot.service: Unable to locate executable '/srv/tbot': No such file or directory" + exited, outcome.ExecFailed, "/srv/tbot': No such file"},
		{"tbot.service: Failed to execute command: Exec format error" + exited, outcome.ExecFailed, "another architecture"},
		{"x" + exited, outcome.ExecFailed, "status=203/EXEC"},
		{"tbot.service: Failed to determine user credentials: No such process\ntbot.service: Failed at step USER spawning /usr/local/bin/tbot: No such process\n" +
			"tbot.service: Main process exited, code=exited, status=217/USER", outcome.ServiceFailed, "step USER"},
		{"tbot.service: Failed to set up mount namespacing: /opt/x: No such file or directory\ntbot.service: Failed at step NAMESPACE spawning /usr/local/bin/tbot: No such file or directory",
			outcome.ServiceFailed, "step NAMESPACE"},
		{"ERROR: generating identity\n\topenat /srv/id/identity: too many levels of symbolic links", outcome.StorageLink, "too many levels of symbolic links"},
		{"ERROR: /srv/bot: path contains symlinks, and symlinks: insecure is not set", outcome.StorageLink, "symlinks"},
		{"ERROR: listening\n\tlisten tcp 127.0.0.1:3001: bind: address already in use", outcome.AddressInUse, "listen tcp 127.0.0.1:3001"},
	} {
		h := Health{state: "restarting", lines: inTransit(strings.Split(c.journal, "\n")), storage: "/var/lib/teleport/bot"}
		if got := h.Explain(0); got.Code != c.code || !strings.Contains(got.Message, c.says) || strings.Contains(got.Message, "\n") {
			t.Errorf("%q: got %+v, want %s with %q", c.journal, got, c.code, c.says)
		}
	}
	h := Health{state: "restarting", lines: []string{"ERROR: listen tcp 127.0.0.1:3001: bind: address already in use"}, holder: "12 python3"}
	if got := h.Explain(0); !strings.Contains(got.Message, "by python3 (process 12)") {
		t.Errorf("who has the address: %+v", got)
	}
}

// TestJournalsThatLookAlike has what a careless reading would take for something else.
func TestJournalsThatLookAlike(t *testing.T) {
	refused := strings.Join(journalSample(t, "no-rule"), "\n")
	for _, c := range []struct {
		name, journal string
		code          outcome.Code
	}{
		{"information is no error", `2026-02-03T10:00:00.130Z INFO [TBOT:IDEN] Bot token expired or not found in cache, permission denied, connection refused iden.go:1`, outcome.NotJoined},
		{"debugging is none", `2026-02-03T10:00:00.130Z DEBU [TBOT] TPM lockout counter read tpm.go:1`, outcome.NotJoined},
		{"the usage of tbot", "Usage: tbot start legacy [<flags>]\n\nFlags:\n      --token  A bot join token; expired or not found tokens end tbot\n      --ca-pin  x509: pins", outcome.NotJoined},
		{"a warning of an old key", `2026-02-03T10:00:00.130Z WARN [TBOT] certificate_ttl is deprecated, and access denied is not what this says config.go:1`, outcome.NotJoined},
		{"the proxy's certificate is not an EK certificate's", "\x1b[31mERROR: \x1b[0mjoining with token\n\ttls: failed to verify certificate: x509: certificate signed by unknown authority", outcome.ClusterCertificate},
		{"an expired certificate of the proxy is not the clock", "ERROR: The certificate presented by the proxy is invalid: x509: certificate has expired or is not yet valid: current time 2026-02-03T10:00:00Z is after 2026-02-01T00:00:00Z.", outcome.ClusterCertificate},
		{"one that is not valid yet is", "ERROR: joining with token\n\tx509: certificate has expired or is not yet valid: current time 1970-01-01T00:00:00Z is before 2026-02-01T00:00:00Z", outcome.ClockOff},
		{"nor is an expired EK certificate", "ERROR: joining with token\n\tvalidating TPM: verifying EK cert\n\tverifying EK cert\n\t\tx509: certificate has expired or is not yet valid: current time 2026-02-03T10:00:00Z is after 2020-02-01T00:00:00Z", outcome.EKCertExpired},
		{"a key that nobody can read", "ERROR: joining with token\n\tx509: unsupported public key type: <nil>", outcome.FindingEKCertKeyUnreadable},
		{"the wrong name of the proxy", "ERROR: Cannot establish https connection to teleport.example.com:443:\n\tx509: certificate is valid for other.example.com", outcome.ClusterCertificate},
		{"a clock that tbot itself notices", `2026-02-03T10:00:00Z WARN [TBOT] Identity loaded from store is not yet valid. Confirm that the system time is correct identity.go:1`, outcome.ClockOff},
		{"no way to the cluster", "ERROR: joining with token\n\tfailed direct dial to auth server: dial tcp 192.0.2.1:3025: connect: connection refused", outcome.ClusterUnreachable},
		{"an output that may not be written is not the storage", "ERROR: Teleport does not have permission to write to: /opt/machine-id. Ensure that you are running as a user with appropriate permissions.", outcome.PermissionDenied},
		{"the newest error counts", refused + "\nERROR: joining with token\n\tTPM device not available", outcome.NoTPM},
		{"an error counts more than what systemd says after it", refused + "\ntbot.service: Main process exited, code=exited, status=1/FAILURE\ntbot.service: Failed with result 'exit-code'.", outcome.NoRule},
		{"what systemd says, where tbot says nothing", "tbot.service: Failed to execute /usr/local/bin/tbot: Permission denied", outcome.ExecFailed},
		{"a stack is not read", "2026-02-03T10:00:00.130Z ERRO [TBOT] Heartbeat failed error:[\nERROR REPORT:\nOriginal Error: *errors.errorString nobody knows\nStack Trace:\n" +
			"\t/go/lockout/x509: /file.go:1 tpm.NoTPM\n\tgithub.com/x/tpm/busy.go:100 pkg.Func\nUser Message: nobody knows] heartbeat.go:9", outcome.NotJoined},
		{"a report whose beginning is lost", "\t/go/x/file.go:1 pkg.Func\nUser Message: joining with token\n\tvalidated tpm attributes did not match any allow rules] x.go:1\nINFO next", outcome.NoRule},
		{"a report ends with its bracket", "2026-02-03T10:00:00.130Z ERRO [TBOT] x error:[\nERROR REPORT:\nOriginal Error: a\nUser Message: b] x.go:1\nno such host\n2026-02-03T10:00:00.130Z INFO [TBOT] y", outcome.ClusterUnreachable},
		{"with debugging, the end is a report, too", "ERROR: \nERROR REPORT:\nOriginal Error: *trace.AccessDeniedError no\nStack Trace:\n\t/go/x/file.go:1 pkg.Func\nUser Message: joining with token\n\tTPM device not available", outcome.NoTPM},
	} {
		h := Health{state: "not-joined", lines: inTransit(strings.Split(c.journal, "\n")), storage: "/var/lib/teleport/bot"}
		if got := h.Explain(0); got.Code != c.code {
			t.Errorf("%s: got %+v, want %s", c.name, got, c.code)
		}
	}
}
