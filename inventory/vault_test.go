package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gopkg.in/yaml.v3"

	"fleetctl/inventory/values"
	"fleetctl/inventory/vault"
)

// vaultFixture is a directory with passwords, and the real ansible-vault.
type vaultFixture struct {
	*ansible
	dir string
}

func newVaultFixture(t *testing.T) vaultFixture {
	f := vaultFixture{startAnsible(t), t.TempDir()}
	f.write(t, "pw", "opensesame\n")
	f.write(t, "prod.pw", "  pröd pässword \n\n")
	f.write(t, "other.pw", "another")
	return f
}

func (f vaultFixture) write(t *testing.T, name, content string) {
	t.Helper()
	writeFile(t, filepath.Join(f.dir, name), content, 0o600)
}

// seal is the text encrypted with a vault ID and the file that has its password.
func (f vaultFixture) seal(t *testing.T, id, file, text string) string {
	t.Helper()
	f.write(t, "plain", text)
	f.vault(t, "encrypt", "--vault-id", id+"@"+file, "--encrypt-vault-id", id, "plain")
	out, err := os.ReadFile(filepath.Join(f.dir, "plain"))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func (f vaultFixture) vault(t *testing.T, args ...string) {
	t.Helper()
	if a := f.run(t, "vault", f.dir, args...); a.Code != 0 {
		t.Fatalf("ansible-vault %q: %s", args, a.Stderr)
	}
}

// inline is a !vault value for YAML.
func inline(sealed string) string {
	return "!vault |\n" + indent(sealed, "        ")
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+by) + "\n"
}

// load loads the inventory "hosts.yml" of the fixture with these vault IDs.
func (f vaultFixture) load(t *testing.T, opts Options, ids ...string) (*Inventory, error) {
	t.Helper()
	var sources []vault.Source
	for _, id := range ids {
		s, err := vault.ParseSource(id)
		if err != nil {
			t.Fatal(err)
		}
		s.From = filepath.Join(f.dir, s.From)
		sources = append(sources, s)
	}
	if sources != nil {
		opts.Vault = vault.New(vault.Options{Sources: sources, Match: opts.Vault != nil})
	}
	opts.PlaybookDir = f.dir
	return Load(t.Context(), []string{filepath.Join(f.dir, "hosts.yml")}, opts)
}

// theirs is what Ansible makes of the variables of all hosts.
type theirVar struct {
	Value json.RawMessage
	Error string
}

func (a *ansible) variables(t *testing.T, dir, ids string, sources ...string) map[string]map[string]theirVar {
	t.Helper()
	answer := a.run(t, "variables", dir, append([]string{ids}, sources...)...)
	vars := map[string]map[string]theirVar{}
	if err := json.Unmarshal([]byte(answer.Stdout), &vars); err != nil {
		t.Fatalf("%v: %s%s", err, answer.Stdout, answer.Stderr)
	}
	return vars
}

// sameAsAnsible compares every variable that the host has in the inventory with Ansible's.
func sameAsAnsible(t *testing.T, hosts []Host, theirs map[string]map[string]theirVar) (compared int) {
	t.Helper()
	for _, h := range hosts {
		for name := range h.Vars {
			want, ok := theirs[h.Name][name]
			if !ok {
				t.Errorf("%s %s: Ansible has no such variable", h.Name, name)
				continue
			}
			compared++
			got, err := h.Var(name)
			if (err != nil) != (want.Error != "") {
				t.Errorf("%s %s: got %#v, %v; Ansible: %s, %s", h.Name, name, got.Value, err, want.Value, want.Error)
			} else if ours := string(values.AppendJSON(nil, got.Value, 0)); err == nil && !sameJSON(ours, string(want.Value)) {
				t.Errorf("%s %s: got %s, Ansible: %s", h.Name, name, ours, want.Value)
			}
		}
	}
	return compared
}

// vaultTexts are what is encrypted: nasty ones, each a case.
var vaultTexts = map[string]string{
	"plain": "hunter2", "trailing newline": "hunter2\n", "blanks around": "  hunter2  ", "one block": "0123456789abcdef",
	"a block less one": "0123456789abcde", "a block more one": "0123456789abcdef0", "empty": "", "unicode": "pä$$wörd€🔑",
	"several lines": "-----BEGIN-----\nabc\r\ndef\n-----END-----\n", "looks like Jinja": "{{ inventory_hostname }}",
	"looks like a number": "0123", "looks like a boolean": "True", "looks like a list": "[1, 2]", "looks like null": "null",
	"quotes": `it's "quoted" \n`, "long": strings.Repeat("0123456789", 2000), "NUL": "a\x00b",
}

func TestVaultValuesAreWhatAnsibleDecrypts(t *testing.T) {
	t.Parallel()
	f := newVaultFixture(t)
	var b strings.Builder
	b.WriteString("all:\n  hosts:\n    h:\n")
	n := 0
	for name, text := range vaultTexts {
		id, file := "default", "pw"
		if n++; n%2 == 0 {
			id, file = "prod", "prod.pw"
		}
		fmt.Fprintf(&b, "      %s: %s", strings.ReplaceAll(name, " ", "_"), inline(f.seal(t, id, file, text)))
	}
	nested := f.seal(t, "prod", "prod.pw", "deep")
	fmt.Fprintf(&b, "      nested:\n        list:\n          - %s", strings.ReplaceAll(inline(nested), "        ", "              "))
	fmt.Fprintf(&b, "      old_tag: %s", strings.Replace(inline(nested), "!vault", "!vault-encrypted", 1))
	fmt.Fprintf(&b, "      upper_case: %s", inline(upperBody(nested)))
	fmt.Fprintf(&b, "      crlf: \"%s\"\n", strings.ReplaceAll(strings.TrimRight(nested, "\n"), "\n", `\r\n`))
	fmt.Fprintf(&b, "      wrong_id: %s", inline(strings.Replace(nested, ";prod", ";elsewhere", 1)))
	fmt.Fprintf(&b, "      version_9: %s", inline(strings.Replace(nested, ";1.2;", ";9.9;", 1)))
	for name, broken := range damaged(nested) {
		fmt.Fprintf(&b, "      broken_%s: %s", name, inline(broken))
	}
	fmt.Fprintf(&b, "      sealed_by_nobody: %s", inline(f.seal(t, "x", "other.pw", "lost")))
	f.write(t, "hosts.yml", b.String())
	inv, err := f.load(t, Options{}, "pw", "prod@prod.pw")
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select()
	if err != nil {
		t.Fatal(err)
	}
	theirs := f.variables(t, f.dir, "pw,prod@prod.pw", "hosts.yml")
	if n := sameAsAnsible(t, hosts, theirs); n < 25 {
		t.Errorf("only %d variables were compared", n)
	}
	for name := range hosts[0].Vars {
		if _, err := hosts[0].Var(name); err != nil && !errors.Is(err, ErrSealed) {
			t.Errorf("%s: %v is no ErrSealed", name, err)
		} else if err != nil && !strings.Contains(err.Error(), "hosts.yml:") {
			t.Errorf("%s: %v names no place", name, err)
		}
	}
}

// upperBody is the text with its digits in upper case.
func upperBody(sealed string) string {
	head, body, _ := strings.Cut(sealed, "\n")
	return head + "\n" + strings.ToUpper(body)
}

// damaged are texts that nothing may decrypt.
func damaged(sealed string) map[string]string {
	head, body, _ := strings.Cut(sealed, "\n")
	body = strings.ReplaceAll(body, "\n", "")
	flip := func(at int) string {
		b := []byte(body)
		b[at] = "1032547698badcfe"[strings.IndexByte("0123456789abcdef", b[at])]
		return head + "\n" + string(b) + "\n"
	}
	return map[string]string{
		"salt": flip(3), "mac": flip(140), "text": flip(len(body) - 1), "odd": head + "\n" + body[:len(body)-1] + "\n",
		"short": head + "\n" + body[:len(body)-4] + "\n", "empty": head + "\n", "no_hex": head + "\nzz" + body[2:] + "\n",
		"cipher": strings.Replace(head, "AES256", "AES", 1) + "\n" + body + "\n", "header": "$ANSIBLE_VAULT;1.2\n" + body + "\n",
		"lead": "\n" + head + "\n" + body + "\n",
	}
}

func TestEncryptedFilesAreReadAsAnsibleReadsThem(t *testing.T) {
	t.Parallel()
	f := newVaultFixture(t)
	f.write(t, "hosts.yml", "all:\n  hosts:\n    a: {ansible_user: '{{ x }}'}\n    b:\n  children:\n    web:\n      hosts: {a: , b: }\n")
	f.write(t, "group_vars/all/vault.yml", f.seal(t, "default", "pw", "---\nansible_port: 2222\nshared: [1, {a: b}]\nover: all\n"))
	f.write(t, "group_vars/all/plain.yml", "over: plain\nansible_host: 10.0.0.1\n")
	f.write(t, "group_vars/web", f.seal(t, "prod", "prod.pw", `{"ansible_password": "pw of web", "over": "web", "n": 1.5}`))
	f.write(t, "host_vars/b.json", f.seal(t, "prod", "prod.pw", "over: 'b'\n# comment\n"))
	inv, err := f.load(t, Options{}, "pw", "prod@prod.pw")
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("b")
	if err != nil {
		t.Fatal(err)
	}
	if n := sameAsAnsible(t, hosts, f.variables(t, f.dir, "pw,prod@prod.pw", "hosts.yml")); n < 6 {
		t.Errorf("only %d variables were compared", n)
	}
	if c, err := hosts[0].Connection(); err != nil || c.Port != 2222 || c.Password != "pw of web" || c.Host != "10.0.0.1" {
		t.Errorf("got %+v, %v", c, err)
	}
	theirs := f.run(t, "inventory", f.dir, "-i", "hosts.yml", "--list", "--vault-id", "pw", "--vault-id", "prod@prod.pw")
	if got := string(inv.Revealed().List()); !sameJSON(got, theirs.Stdout) {
		t.Errorf("revealed:\n%s\nAnsible:\n%s", got, theirs.Stdout)
	}
	neverShown(t, inv, hosts[0], "pw of web")
}

// neverShown: what was decrypted is in no listing, no format and no encoding.
func neverShown(t *testing.T, inv *Inventory, h Host, secret string) {
	t.Helper()
	asYAML, _ := yaml.Marshal(h.Vars)
	asJSON, err := json.Marshal(h.Vars)
	if err != nil {
		t.Error(err)
	}
	for _, text := range []string{
		string(inv.List()), string(asYAML), string(asJSON), fmt.Sprintf("%v %+v %#v %s", h, h, h, h.Vars),
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown in %s", secret, text)
		}
	}
}

func TestAnInventoryThatIsEncryptedAsAWhole(t *testing.T) {
	t.Parallel()
	f := newVaultFixture(t)
	f.write(t, "hosts.yml", f.seal(t, "default", "pw", "web:\n  hosts: {a: {ansible_password: topsecret}}\n  vars: {v: alsosecret}\n"))
	inv, err := f.load(t, Options{}, "pw")
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select("a")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := hosts[0].Connection(); err != nil || c.Password != "topsecret" {
		t.Errorf("got %+v, %v", c, err)
	}
	neverShown(t, inv, hosts[0], "topsecret")
	neverShown(t, inv, hosts[0], "alsosecret")
	listing := string(inv.List())
	again, err := Load(t.Context(), []string{stdin}, Options{Stdin: strings.NewReader(listing)})
	if err != nil {
		t.Fatal(err)
	}
	if hosts, err = again.Select("a"); err != nil {
		t.Fatal(err)
	}
	if c, err := hosts[0].Connection(); !errors.Is(err, ErrSealed) {
		t.Errorf("what stands for a secret in a listing was taken for it: %+v, %v", c, err)
	}
	f.write(t, "hosts.yml", f.seal(t, "default", "pw", "web:\n  hosts: [topsecret, {topsecret]\n"))
	if _, err := f.load(t, Options{}, "pw"); err == nil || strings.Contains(err.Error(), "topsecret") || !strings.Contains(err.Error(), "hosts.yml:2") {
		t.Errorf("a mistake in a decrypted file: %v", err)
	}
}

func TestWithoutThePasswordOnlyWhatNeedsItIsLost(t *testing.T) {
	t.Parallel()
	f := newVaultFixture(t)
	sealed := f.seal(t, "default", "pw", "secret")
	f.write(t, "hosts.yml", "all:\n  hosts:\n    free:\n      app_password: "+inline(sealed)+
		"    pass:\n      ansible_become_pass: "+inline(sealed)+"    user:\n      ansible_user: "+inline(sealed))
	wantErrors := func(what string, inv *Inventory, want map[string]string) {
		t.Helper()
		hosts, err := inv.Select()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range hosts {
			switch _, err := h.Connection(); {
			case want[h.Name] == "" && err != nil, want[h.Name] != "" && (err == nil || !strings.Contains(err.Error(), want[h.Name])):
				t.Errorf("%s: %s: got %v, want %q", what, h.Name, err, want[h.Name])
			case err != nil && !errors.Is(err, ErrSealed):
				t.Errorf("%s: %s: %v is no ErrSealed", what, h.Name, err)
			}
		}
	}
	load := func(opts Options, ids ...string) *Inventory {
		t.Helper()
		inv, err := f.load(t, opts, ids...)
		if err != nil {
			t.Fatal(err)
		}
		return inv
	}
	wantErrors("no password", load(Options{}), map[string]string{
		"pass": "): no vault password was given", "user": "ansible_user is encrypted",
	})
	wantErrors("another password", load(Options{}, "other.pw"), map[string]string{
		"pass": "no vault password that was given fits", "user": "ansible_user",
	})
	wantErrors("only passwords may be passed over", load(Options{IgnoreVault: true}), map[string]string{"user": "ansible_user"})
	f.write(t, "group_vars/all.yml", f.seal(t, "default", "pw", "x: y"))
	all := map[string]string{"free": "group_vars/all.yml is encrypted", "pass": "group_vars/all.yml", "user": "group_vars/all.yml"}
	wantErrors("a file of all hosts", load(Options{}), all)
	wantErrors("a file of all hosts, passed over", load(Options{IgnoreVault: true}, "other.pw"), map[string]string{"user": "ansible_user"})
	if _, err := f.load(t, Options{}, "no-such-file"); err == nil || !strings.Contains(err.Error(), "no-such-file: no such file") {
		t.Errorf("a password file that is missing: %v", err)
	}
}

func TestManyMayReadConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var b strings.Builder
	b.WriteString("all:\n  vars: {ansible_host: \"{{ inventory_hostname }}.x\", ansible_user: \"{{ hostvars[groups.all | last].u }}\", u: '{{ groups.all.0 }}'}\n  hosts:\n")
	for i := range 50 {
		fmt.Fprintf(&b, "    h%d:\n", i)
	}
	file := writeFile(t, filepath.Join(dir, "hosts.yml"), b.String(), 0o600)
	inv, err := Load(t.Context(), []string{file}, Options{PlaybookDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := inv.Select()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, h := range hosts {
		wg.Go(func() {
			if c, err := h.Connection(); err != nil || c.Host != h.Name+".x" || c.User != "h0" {
				t.Errorf("%s: got %+v, %v", h.Name, c, err)
			}
		})
	}
	wg.Wait()
}
