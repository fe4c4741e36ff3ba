package vault

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// What ansible-vault 2.14 made of "hunter2" with vault ID prod, and of "opensesame" without one; the password of both is
// opensesame. The tests of inventory compare with the real one.
const (
	ofProd = `$ANSIBLE_VAULT;1.2;AES256;prod
38303561336265633864323066313566613737326464316162613365376663373734333230666164
3036333166343266396632326432363339383762643163650a636134356465656661353566666665
64393961653465363138323637623065653332666363373064646338376664643838663162353131
6139636437646162360a376266653763626663353035383637393237303661653561373635376237
3162
`
	ofNone = `$ANSIBLE_VAULT;1.1;AES256
37303235663438616265363137373962356538306638383736323537656535313736326138643531
6131373866356238306432616634643866633037303636330a633930393336303865613238323565
36373065323861353333616438356231346230643861333439666461343432646430313262613165
3863336538343838620a663935336537356436356137393563326165646339393664666633333136
3038
`
)

// file writes a file and returns its path.
func file(t *testing.T, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswordsComeFromFilesProgramsAndPeople(t *testing.T) {
	t.Setenv("PASSWORD_DIR", filepath.Dir(file(t, "pw", "opensesame\n", 0o600)))
	t.Setenv("HOME", os.Getenv("PASSWORD_DIR"))
	program := func(name, body string) string { return file(t, name, "#!/bin/sh\n"+body+"\n", 0o700) }
	asked := func(answer string) Options {
		return Options{Sources: []Source{{ID: "prod", From: Prompt}}, Ask: func(id string) (string, error) { return answer + " ", nil }}
	}
	one := func(id, from string) Options { return Options{Sources: []Source{{ID: id, From: from}}} }
	for _, c := range []struct {
		name string
		opts Options
		want string // of the error; "" for none
	}{
		{"a file", one("", file(t, "pw", "\n opensesame \n\n", 0o600)), ""},
		{"a file below $VARIABLE", one("", "$PASSWORD_DIR/pw"), ""},
		{"a file below ~", one("", "~/pw"), ""},
		{"a program", one("", program("pw.sh", "echo opensesame")), ""},
		{"a program that fails", one("", program("pw.sh", "echo opensesame; exit 3")), "exit status 3"},
		{"a program that is none", one("", file(t, "pw", "opensesame", 0o700)), "cannot be run"},
		{"a program that isn't told the ID", one("prod", program("x", `[ $# = 0 ] && echo opensesame`)), ""},
		{"a client is", one("prod", program("pw-client", `[ "$*" = "--vault-id prod" ] && echo opensesame`)), ""},
		{"a client with an extension is", one("prod", program("pw-client.sh", `[ "$*" = "--vault-id prod" ] && echo opensesame`)), ""},
		{"a client without an ID is told none", one("", program("pw-client", `[ $# = 0 ] && echo opensesame`)), ""},
		{"a client that doesn't know the ID", one("prod", program("pw-client", "exit 2")), `has no password for vault ID "prod"`},
		{"a program that prints without end", one("", program("pw.sh", "yes opensesame")), "printed more than 1024 KiB"},
		{"a program that leaves something behind", one("", program("pw.sh", "echo opensesame; sleep 20 &")), ""},
		{"a person", asked("opensesame"), ""},
		{"a person without words", asked(""), "no password was typed"},
		{"nobody", one("", Prompt), "nobody can be asked"},
		{"no file", one("", "/no/such/file"), "no such file"},
		{"a directory", one("", t.TempDir()), "is a directory"},
		{"an empty file", one("", file(t, "pw", " \n", 0o600)), "no password in it"},
		{"an endless file", one("", "/dev/zero"), "has more than 1024 KiB"},
		{"an encrypted file", one("", file(t, "pw", ofNone, 0o600)), "is encrypted itself: no vault password"},
		{"an encrypted file behind its password", Options{Sources: []Source{{"x", file(t, "pw", "opensesame", 0o600)},
			{"y", file(t, "pw", ofNone, 0o600)}}}, ""},
		{"the second one fits", Options{Sources: []Source{{"", file(t, "a", "a", 0o600)}, {"", file(t, "b", "opensesame", 0o600)}}}, ""},
		{"another ID's fits", one("test", file(t, "b", "opensesame", 0o600)), ""},
		{"another ID's must not", Options{Sources: []Source{{"test", file(t, "b", "opensesame", 0o600)}}, Match: true},
			`none is for vault ID "prod"`},
		{"this ID's must", Options{Sources: []Source{{"prod", file(t, "b", "opensesame", 0o600)}}, Match: true}, ""},
		{"none fits", one("test", file(t, "b", "Opensesame", 0o600)), `(tried: test; the text is for vault ID "prod")`},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := New(c.opts)
			_, err := k.Read(t.Context())
			var plain []byte
			if err == nil {
				plain, err = k.Decrypt(ofProd)
			}
			switch {
			case c.want == "" && (err != nil || string(plain) != "hunter2"):
				t.Errorf("got %q, %v", plain, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestASourceThatFailsIsAWarningWhereAnotherHasAPassword(t *testing.T) {
	k := New(Options{Sources: []Source{{"", "/no/such/file"}, {"", file(t, "pw", "opensesame", 0o600)}}})
	warnings, err := k.Read(t.Context())
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "/no/such/file") {
		t.Errorf("got %q, %v", warnings, err)
	}
	if again, err := k.Read(t.Context()); err != nil || again != nil {
		t.Errorf("read again: %q, %v", again, err)
	}
}

func TestAProgramEndsWithTheRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	k := New(Options{Sources: []Source{{"", file(t, "pw.sh", "#!/bin/sh\nexec sleep 1000\n", 0o700)}}})
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := k.Read(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestManyMayDecryptAtOnce(t *testing.T) {
	k := New(Options{Sources: []Source{{"", file(t, "pw", "opensesame", 0o600)}}})
	if _, err := k.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if plain, err := k.Decrypt(ofProd); err != nil || string(plain) != "hunter2" {
				t.Errorf("got %q, %v", plain, err)
			}
		})
	}
	wg.Wait()
	if len(k.opened) != 1 {
		t.Errorf("%d outcomes are kept", len(k.opened))
	}
}

func TestNothingDecryptsWithoutPasswords(t *testing.T) {
	for _, k := range []*Keyring{nil, New(Options{})} {
		if _, err := k.Read(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := k.Decrypt(ofProd); !errors.Is(err, ErrNoPassword) {
			t.Errorf("got %v", err)
		}
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]Source{
		"pw": {"", "pw"}, "a@pw": {"a", "pw"}, "a@b@c": {"a", "b@c"}, "@pw": {"", "pw"}, "a@prompt": {"a", Prompt}, "a@": {}, "": {},
	} {
		if got, err := ParseSource(text); got != want || (err != nil) != (want == Source{}) {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func FuzzDecrypt(f *testing.F) {
	f.Add(ofProd)
	f.Add(ofNone)
	f.Add(strings.ReplaceAll(ofNone, "\n", "\r\n"))
	k := New(Options{})
	k.secrets = []secret{{"x", "opensesame"}}
	f.Fuzz(func(t *testing.T, text string) {
		plain, err := k.Decrypt(text)
		if err == nil && !bytes.Equal(plain, []byte("hunter2")) && !bytes.Equal(plain, []byte("opensesame")) {
			t.Errorf("%q became %q", text, plain)
		}
		if err != nil && !errors.Is(err, ErrPassword) && !errors.Is(err, ErrDamaged) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
