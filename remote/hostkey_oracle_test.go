package remote_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fleetctl/remote"
	"fleetctl/remote/remotetest"
)

// oracle is OpenSSH's client with sshds that it starts itself (sshd -i as ProxyCommand), so that any host name and port can
// be asked for. What it decides in StrictHostKeyChecking=yes is what we have to decide.
type oracle struct {
	dir, ssh, sshd string
	dialer         *remote.Dialer
	lines          *strings.Replacer // A, B, R, E, CA, CA2: the keys, as known_hosts has them
}

// newOracle makes the keys and a server for each of the key and the certificates that a host may show.
func newOracle(t *testing.T) *oracle {
	t.Helper()
	o := &oracle{dir: remotetest.SharedDir(t), ssh: remotetest.NeedPeer(t, "ssh"), sshd: remotetest.NeedPeer(t, "sshd")}
	o.dialer = newDialer(t, remote.Options{Retries: -1, Logf: func(string, ...any) {}})
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var pairs []string
	for _, k := range []struct {
		name, kind string
		more       []string
	}{
		{"CA2", "ed25519", nil}, {"CAR", "rsa", []string{"-b", "2048"}}, {"CA", "ed25519", nil}, {"A", "ed25519", nil},
		{"B", "ed25519", nil}, {"R", "rsa", []string{"-b", "2048"}}, {"E", "ecdsa", nil},
	} {
		remotetest.KeyGen(t, o.file(k.name), k.kind, k.more...)
		pub := strings.Fields(readFile(t, o.file(k.name+".pub")))
		pairs = append(pairs, "<"+k.name+">", pub[0]+" "+pub[1])
	}
	o.lines = strings.NewReplacer(pairs...)
	o.serve(t, "plain", "A", "")
	for name, sign := range map[string][]string{
		"cert":      {"-s", o.file("CA"), "-n", "h.example,other.example"},
		"elsewhere": {"-s", o.file("CA"), "-n", "other.example"},
		"wildcard":  {"-s", o.file("CA"), "-n", "*.example"},
		"expired":   {"-s", o.file("CA"), "-n", "h.example", "-V", "20200101:20210101"},
		"early":     {"-s", o.file("CA"), "-n", "h.example", "-V", "20900101:20910101"},
		"nameless":  {"-s", o.file("CA")},
		"critical":  {"-s", o.file("CA"), "-n", "h.example", "-O", "critical:x@example=1"},
		"sha1":      {"-s", o.file("CAR"), "-n", "h.example", "-t", "ssh-rsa"},
		"sha512":    {"-s", o.file("CAR"), "-n", "h.example", "-t", "rsa-sha2-512"},
	} {
		cert := o.file(name)
		writeFile(t, cert+".pub", readFile(t, o.file("A.pub")))
		args := append(append([]string{"-q", "-h", "-I", "id"}, sign...), cert+".pub")
		if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		o.serve(t, name, "A", cert+"-cert.pub")
	}
	return o
}

func (o *oracle) file(name string) string { return filepath.Join(o.dir, name) }

// serve writes the configuration of a server.
func (o *oracle) serve(t *testing.T, name, key, cert string) {
	t.Helper()
	cfg := "HostKey " + o.file(key) + "\nStrictModes no\nUsePAM no\nAuthorizedKeysFile none\n"
	if cert != "" {
		cfg += "HostCertificate " + cert + "\n"
	}
	writeFile(t, o.file(name+".conf"), cfg)
}

// hostKeyCase is what is known, and what a host shows.
type hostKeyCase struct {
	name    string
	server  string // of newOracle; "": plain, which shows A
	host    string // "": h.example
	port    int    // 0: 2222
	known   []string
	second  []string // of a second UserKnownHostsFile
	global  []string
	args    []string // more -o options
	refused error    // where we are stricter on purpose: how; ssh connects
}

// options writes the files and returns the options for both clients.
func (o *oracle) options(t *testing.T, c hostKeyCase) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for i, lines := range [][]string{c.known, c.second, c.global} {
		file := filepath.Join(dir, strconv.Itoa(i))
		writeFile(t, file, o.lines.Replace(strings.Join(lines, "\n"))+"\n")
		files = append(files, file)
	}
	if text := readFile(t, files[0]); strings.Contains(text, "HASH:") {
		hashNames(t, files[0])
	}
	server := c.server
	if server == "" {
		server = "plain"
	}
	return append([]string{
		"-F", "none", "-o", "UserKnownHostsFile=" + files[0] + " " + files[1], "-o", "GlobalKnownHostsFile=" + files[2],
		"-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-o", "IdentityFile=none",
		"-o", "ProxyCommand=" + o.sshd + " -i -f " + o.file(server+".conf"),
	}, c.args...)
}

// hashNames hashes the lines that begin with HASH:.
func hashNames(t *testing.T, file string) {
	t.Helper()
	var out []string
	for _, line := range strings.Split(readFile(t, file), "\n") {
		if rest, ok := strings.CutPrefix(line, "HASH:"); ok {
			one := filepath.Join(t.TempDir(), "one")
			writeFile(t, one, rest+"\n")
			hashKnownHosts(t, one)
			line = strings.TrimSpace(readFile(t, one))
		}
		out = append(out, line)
	}
	writeFile(t, file, strings.Join(out, "\n"))
}

// verdicts are nil for a key that is accepted, and our errors.
func (o *oracle) asksSSH(t *testing.T, c hostKeyCase, args []string) error {
	t.Helper()
	argv := append(append([]string{}, args...), "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
		"-o", "LogLevel=INFO", "-p", strconv.Itoa(c.port), "u@"+c.host, "true")
	cmd := exec.CommandContext(t.Context(), o.ssh, argv...)
	var said bytes.Buffer
	cmd.Stderr = &said
	_ = cmd.Run()
	switch text := said.String(); {
	case strings.Contains(text, "Permission denied"):
		return nil
	case strings.Contains(text, "IDENTIFICATION HAS CHANGED"):
		return remote.ErrHostKeyChanged
	case strings.Contains(text, "REVOKED HOST KEY"), strings.Contains(text, "revoked by file"):
		return remote.ErrHostKeyRevoked
	case strings.Contains(text, "host key is known for"):
		return remote.ErrHostKeyUnknown
	default:
		t.Fatalf("ssh said %s", text)
		return nil
	}
}

func (o *oracle) asksUs(t *testing.T, c hostKeyCase, args []string) error {
	t.Helper()
	err := runOnce(t.Context(), o.dialer, remote.Target{
		Name: "h", Host: c.host, Port: c.port, User: "u", SSHArgs: args,
	}, "x")
	for _, verdict := range []error{remote.ErrHostKeyChanged, remote.ErrHostKeyRevoked, remote.ErrHostKeyUnknown} {
		if errors.Is(err, verdict) {
			return verdict
		}
	}
	if !errors.Is(err, remote.ErrAuth) {
		t.Fatalf("we said %v", err)
	}
	return nil
}

// compare runs one case with both.
func (o *oracle) compare(t *testing.T, c hostKeyCase) {
	t.Helper()
	if c.host == "" {
		c.host = "h.example"
	}
	if c.port == 0 {
		c.port = 2222
	}
	args := o.options(t, c)
	theirs, ours := o.asksSSH(t, c, args), o.asksUs(t, c, args)
	if c.refused != nil {
		if !errors.Is(ours, c.refused) {
			t.Errorf("we say %v, want %v", ours, c.refused)
		}
		return
	}
	if !errors.Is(ours, theirs) {
		t.Errorf("we say %v, OpenSSH says %v", ours, theirs)
	}
}

// TestHostKeysAreJudgedAsOpenSSHJudgesThem asks both clients. FLEETCTL_ORACLE=all makes it ask for every mixture.
func TestHostKeysAreJudgedAsOpenSSHJudgesThem(t *testing.T) {
	t.Parallel()
	o := newOracle(t)
	for _, c := range append(hostKeyCases(), mixtures(os.Getenv("FLEETCTL_ORACLE") == "all")...) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o.compare(t, c)
		})
	}
}

// mixtures combine what may be known of [host]:port with what may be known of the bare name: all, or every seventh.
func mixtures(all bool) []hostKeyCase {
	var out []hostKeyCase
	others := []string{"[h.example]:2222 <B>", "[h.example]:2222 <R>", "HASH:[h.example]:2222 <B>", "[*.example]:* <B>"}
	exact := append([]string{
		"", "[h.example]:2222 <A>", "HASH:[h.example]:2222 <A>", "[*.example]:2222,!* <B>",
		"@cert-authority [h.example]:2222 <CA>", "@cert-authority [*]:2222 <CA2>",
	}, others...)
	bare := []string{"", "h.example <A>", "h.example <B>", "HASH:h.example <A>", "*.example <A>", "@cert-authority h.example <CA>"}
	for i, e := range exact {
		for j, b := range bare {
			for k, server := range []string{"plain", "cert"} {
				if !all && (5*i+3*j+k)%7 != 0 {
					continue
				}
				c := hostKeyCase{
					name: fmt.Sprintf("%s shown; %q and %q known", server, e, b), server: server, known: []string{e, b},
				}
				if server == "cert" && slices.Contains(others, e) && strings.HasSuffix(b, "<A>") {
					c.refused = remote.ErrHostKeyChanged // OpenSSH lets a certificate's plain key in by the bare name
				}
				out = append(out, c)
			}
		}
	}
	return out
}

func hostKeyCases() []hostKeyCase {
	return []hostKeyCase{
		// The bare name and the port.
		{name: "nothing is known"},
		{name: "the name with its port", known: []string{"[h.example]:2222 <A>"}},
		{name: "the name alone", known: []string{"h.example <A>"}},
		{name: "the name alone, with another key", known: []string{"h.example <B>"}},
		{name: "another key with the port, this one without", known: []string{"[h.example]:2222 <B>", "h.example <A>"}},
		{name: "another key with the port, hashed, this one without", known: []string{"HASH:[h.example]:2222 <B>", "h.example <A>"}},
		{name: "another key with the port, this one without, hashed", known: []string{"[h.example]:2222 <B>", "HASH:h.example <A>"}},
		{name: "another key by a pattern that takes in the port", known: []string{"[h.example]:* <B>", "h.example <A>"}},
		{name: "another key by a pattern of any host and port", known: []string{"* <B>", "h.example <A>"}},
		{name: "another key by a pattern with ?", known: []string{"?h.example?:2222 <B>", "h.example <A>"}},
		{name: "another key by a pattern that leaves the port out", known: []string{"*.example <B>", "h.example <A>"}},
		{name: "another key, whose pattern is negated for the port", known: []string{"*,![h.example]:2222 <B>", "h.example <A>"}},
		{name: "this key by a pattern, another with the port", known: []string{"[h.example]:2222 <B>", "* <A>"}},
		{name: "this key by a pattern of the bare name, another with the port", known: []string{"[h.example]:2222 <B>", "*.example <A>"}},
		{name: "another key with the port in a second file", known: []string{"h.example <A>"}, second: []string{"[h.example]:2222 <B>"}},
		{name: "another key with the port in the global file", known: []string{"h.example <A>"}, global: []string{"[h.example]:2222 <B>"}},
		{name: "this key with the port in the global file, another in the first", known: []string{"[h.example]:2222 <B>"}, global: []string{"[h.example]:2222 <A>"}},
		{name: "this key in the second file only", second: []string{"[h.example]:2222 <A>"}},
		{name: "both keys with the port", known: []string{"[h.example]:2222 <B>", "[h.example]:2222 <A>"}},
		{name: "the port of another line", known: []string{"[h.example]:2223 <B>", "h.example <A>"}},
		{name: "port 22, known with another port", port: 22, known: []string{"[h.example]:2222 <A>"}},
		{name: "port 22, written out", port: 22, known: []string{"[h.example]:22 <A>"}},
		{name: "port 22, another key", port: 22, known: []string{"h.example <B>"}},
		{name: "port 22, a pattern with another key and this one by name", port: 22, known: []string{"* <B>", "h.example <A>"}},
		// Types of keys.
		{name: "a key of another type with the port", known: []string{"[h.example]:2222 <R>"}},
		{name: "a key of another type with the port, this one without", known: []string{"[h.example]:2222 <R>", "h.example <A>"}},
		{name: "a key of another type, hashed, this one without", known: []string{"HASH:[h.example]:2222 <E>", "h.example <A>"}},
		{name: "this key and one of another type", known: []string{"[h.example]:2222 <R>", "[h.example]:2222 <A>"}},
		{name: "a key of another type without the port", known: []string{"h.example <R>"}},
		{name: "port 22, a key of another type", port: 22, known: []string{"h.example <E>"}},
		// Names.
		{name: "capitals in the line", known: []string{"[H.Example]:2222 <A>"}},
		{name: "capitals in the name", host: "H.EXAMPLE", known: []string{"[h.example]:2222 <A>"}},
		{name: "several names", known: []string{"g,[h.example]:2222,10.0.0.1 <A>"}},
		{name: "a negation after the name", known: []string{"[h.example]:2222,![h.example]:2222 <A>"}},
		{name: "a negation before the name", known: []string{"!h.example,*.example <A>", "h.example <B>"}},
		{name: "a negation alone", known: []string{"!g.example <A>"}},
		{name: "IPv6 with a port", host: "2001:db8::1", known: []string{"[2001:db8::1]:2222 <A>"}},
		{name: "IPv6 with a port, known without", host: "2001:db8::1", known: []string{"2001:db8::1 <A>"}},
		{name: "IPv6 without a port", host: "2001:db8::1", port: 22, known: []string{"2001:db8::1 <A>"}},
		{name: "IPv6 in brackets without a port", host: "2001:db8::1", port: 22, known: []string{"[2001:db8::1] <A>"}},
		// HostKeyAlias.
		{name: "an alias", known: []string{"alias <A>"}, args: []string{"-o", "HostKeyAlias=alias"}},
		{name: "an alias with capitals", known: []string{"alias <A>"}, args: []string{"-o", "HostKeyAlias=Alias"}},
		{name: "an alias, known by its name alone", known: []string{"h.example <A>", "[h.example]:2222 <A>"}, args: []string{"-o", "HostKeyAlias=alias"}},
		{name: "an alias, known with the port", known: []string{"[alias]:2222 <A>"}, args: []string{"-o", "HostKeyAlias=alias"}},
		{name: "an alias with another key", known: []string{"alias <B>", "h.example <A>"}, args: []string{"-o", "HostKeyAlias=alias"}},
		{name: "an alias with brackets", known: []string{"[alias]:2222 <B>", "alias <A>"}, args: []string{"-o", "HostKeyAlias=[alias]:2222"}},
		// Lines that are no lines.
		{name: "spaces and tabs before and between", known: []string{" \t[h.example]:2222\t \t<A>\tcomment"}},
		{name: "a comment", known: []string{"#[h.example]:2222 <B>", "h.example <A>"}},
		{name: "a key that is cut off, with the port", known: []string{"[h.example]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", "h.example <A>"}},
		{name: "a key without its type", known: []string{"[h.example]:2222 AAAA", "h.example <A>"}},
		{name: "a type that isn't the key's", known: []string{"[h.example]:2222 ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIEq2bmhJZR1TCCRGqBMn7I8uYVBCAvLr0xVVVWjTGmAY", "h.example <A>"}},
		{name: "a marker that isn't known", known: []string{"@unknown [h.example]:2222 <B>", "h.example <A>"}},
		{name: "two markers", known: []string{"@cert-authority @cert-authority [h.example]:2222 <B>", "h.example <A>"}},
		{name: "a no-break space is no space", known: []string{"h.example\u00a0 <A>"}},
		{name: "a vertical tab is no space", known: []string{"h.example\v<A>"}},
		// Revoked keys.
		{name: "a revoked key", known: []string{"[h.example]:2222 <A>", "@revoked [h.example]:2222 <A>"}},
		{name: "a key revoked before it is known", known: []string{"@revoked * <A>", "[h.example]:2222 <A>"}},
		{name: "a key revoked in the global file", known: []string{"[h.example]:2222 <A>"}, global: []string{"@revoked * <A>"}},
		{name: "a key revoked for others", known: []string{"[h.example]:2222 <A>", "@revoked g.example <A>"}},
		{name: "another revoked key", known: []string{"[h.example]:2222 <A>", "@revoked * <B>"}},
		{name: "a key revoked under a hashed name", known: []string{"[h.example]:2222 <A>", "HASH:[h.example]:2222 <A>", "@revoked * <A>"}},
		{name: "a key revoked under its bare name", known: []string{"[h.example]:2222 <A>", "@revoked h.example <A>"}, refused: remote.ErrHostKeyRevoked},
		{name: "a revoked line that cannot be read", known: []string{"[h.example]:2222 <A>", "@revoked * ssh-ed25519 AAAA"}, refused: remote.ErrHostKeyRevoked},
		{name: "a revoked line without names", known: []string{"[h.example]:2222 <A>", "@revoked"}, refused: remote.ErrHostKeyRevoked},
		{name: "a revoked line of two markers", known: []string{"[h.example]:2222 <A>", "@cert-authority @revoked * <A>"}, refused: remote.ErrHostKeyRevoked},
		{name: "a revoked line for others that cannot be read", known: []string{"[h.example]:2222 <A>", "@revoked g.example ssh-ed25519 AAAA"}},
		{name: "a revoked line in capitals", known: []string{"[h.example]:2222 <A>", "@REVOKED * <A>"}, refused: remote.ErrHostKeyRevoked},
		// Certificates.
		{name: "a certificate", server: "cert", known: []string{"@cert-authority h.example <CA>"}},
		{name: "a certificate, its authority with the port", server: "cert", known: []string{"@cert-authority [h.example]:2222 <CA>"}},
		{name: "a certificate, its authority by a pattern", server: "cert", known: []string{"@cert-authority *.example,!g.example <CA>"}},
		{name: "a certificate, its authority for others", server: "cert", known: []string{"@cert-authority *.test <CA>"}},
		{name: "a certificate, its authority negated", server: "cert", known: []string{"@cert-authority *.example,!h.example <CA>"}},
		{name: "a certificate of another authority", server: "cert", known: []string{"@cert-authority * <CA2>"}},
		{name: "a certificate, another authority with the port", server: "cert", known: []string{"@cert-authority [h.example]:2222 <CA2>", "@cert-authority h.example <CA>"}},
		{name: "a certificate whose plain key is known", server: "cert", known: []string{"[h.example]:2222 <A>"}},
		{name: "a certificate, another plain key is known", server: "cert", known: []string{"[h.example]:2222 <B>", "@cert-authority *.test <CA>"}},
		{name: "a certificate, another plain key with the port, this one without", server: "cert",
			known: []string{"[h.example]:2222 <B>", "h.example <A>"}, refused: remote.ErrHostKeyChanged},
		{name: "a certificate whose authority is known as a plain key", server: "cert", known: []string{"[h.example]:2222 <CA>"}},
		{name: "a certificate of a revoked authority", server: "cert", known: []string{"@cert-authority * <CA>", "@revoked * <CA>"}},
		{name: "a certificate of a revoked key", server: "cert", known: []string{"@cert-authority * <CA>", "@revoked * <A>"}},
		{name: "a certificate of another host", server: "elsewhere", known: []string{"@cert-authority * <CA>"}},
		{name: "a certificate of another host, its plain key known", server: "elsewhere", known: []string{"@cert-authority * <CA>", "[h.example]:2222 <A>"}},
		{name: "a certificate for an alias", server: "elsewhere", known: []string{"@cert-authority * <CA>"}, args: []string{"-o", "HostKeyAlias=other.example"}},
		{name: "an expired certificate", server: "expired", known: []string{"@cert-authority * <CA>"}},
		{name: "a certificate of the future", server: "early", known: []string{"@cert-authority * <CA>"}},
		{name: "a certificate with a critical option", server: "critical", known: []string{"@cert-authority * <CA>"}},
		{name: "a certificate signed with SHA-1", server: "sha1", known: []string{"@cert-authority * <CAR>"}},
		{name: "a certificate signed with SHA-512", server: "sha512", known: []string{"@cert-authority * <CAR>"}},
		{name: "a certificate signed with what CASignatureAlgorithms lacks", server: "sha512", known: []string{"@cert-authority * <CAR>"},
			args: []string{"-o", "CASignatureAlgorithms=rsa-sha2-256"}},
		{name: "a certificate that names no host", server: "nameless", known: []string{"@cert-authority * <CA>"}, refused: remote.ErrHostKeyUnknown},
		{name: "a certificate for a pattern", server: "wildcard", known: []string{"@cert-authority * <CA>"}, refused: remote.ErrHostKeyUnknown},
	}
}
