package hostkeys

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"fleetctl/remote/fault"
)

func TestOfTwoNewKeysAtOnceOneIsTrusted(t *testing.T) {
	t.Parallel()
	for name, objects := range map[string]int{"in one run": 1, "in two that read the file before": 2} {
		for _, hashed := range []bool{false, true} {
			file := filepath.Join(t.TempDir(), "known_hosts")
			runs := make([]*KnownHosts, objects)
			for i := range runs {
				k, err := Load([]string{file}, t.Logf)
				if err != nil {
					t.Fatal(err)
				}
				runs[i] = k
			}
			var trusted atomic.Int32
			var wg sync.WaitGroup
			for i := range 16 {
				key := edKey(t).PublicKey()
				wg.Go(func() {
					k := runs[i%objects]
					if err := k.Accept(file, "[h]:2222", key, hashed); err == nil {
						trusted.Add(1)
					} else if !errors.Is(err, fault.ErrHostKeyChanged) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			data, err := os.ReadFile(file)
			if trusted.Load() != 1 || err != nil || strings.Count(string(data), "\n") != 1 {
				t.Errorf("%s, hashed %v: %d were trusted\n%s%v", name, hashed, trusted.Load(), data, err)
			}
		}
	}
}

func TestAcceptSeesWhatOthersHaveAdded(t *testing.T) {
	t.Parallel()
	a, b := edKey(t).PublicKey(), edKey(t).PublicKey()
	for _, tt := range []struct {
		name, before, after string
		want                error
	}{
		{"another key", "# one\n", "# one\n" + keyLine("h", b) + "\n", fault.ErrHostKeyChanged},
		{"another key, after a line without an end", "g ssh-ed255", "g ssh-ed25519 AAAA\n" + keyLine("h", b), fault.ErrHostKeyChanged},
		{"another key, in a file that was written anew", strings.Repeat("# old\n", 100), keyLine("h", b) + "\n", fault.ErrHostKeyChanged},
		{"a revocation", "", "@revoked " + keyLine("*", a) + "\n", fault.ErrHostKeyRevoked},
		{"this key", "", keyLine("h", a) + "\n", nil},
		{"another host", "", keyLine("g", b) + "\n", nil},
	} {
		file := filepath.Join(t.TempDir(), "known_hosts")
		write(t, file, tt.before)
		k, err := Load([]string{file}, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, tt.after)
		if err := k.Accept(file, "h", a, false); !errors.Is(err, tt.want) || (tt.want == nil && err != nil) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAKeyThatIsNotWrittenIsForgotten(t *testing.T) {
	t.Parallel()
	k := loadLines(t)
	a, b := edKey(t).PublicKey(), edKey(t).PublicKey()
	for range 2 {
		if err := k.Accept("/proc/no-such-directory/known_hosts", "h", a, false); err == nil {
			t.Error("it was trusted")
		}
		if err := k.Check([]string{"h"}, a); !errors.Is(err, fault.ErrHostKeyUnknown) {
			t.Errorf("then it is %v", err)
		}
	}
	if err := k.Accept("", "h", a, false); err != nil { // no file is asked for
		t.Error(err)
	}
	if err := k.Accept("", "h", b, false); !errors.Is(err, fault.ErrHostKeyChanged) {
		t.Errorf("another one, in memory: %v", err)
	}
}

// TestNamesThatWouldBePatternsAreNotRecorded keeps a host's name from standing for other hosts.
func TestNamesThatWouldBePatternsAreNotRecorded(t *testing.T) {
	t.Parallel()
	a := edKey(t).PublicKey()
	for _, name := range []string{"*", "h*", "?", "a,b", "!h", "#h", "|1|x", "@cert-authority", "a b", "a\tb", "a\nb", "[h]", `h\`, "'", ""} {
		for _, port := range []int{22, 2222} {
			file := filepath.Join(t.TempDir(), "known_hosts")
			k, err := Load([]string{file}, t.Logf)
			if err != nil {
				t.Fatal(err)
			}
			if err := k.Accept(file, HostNames(name, port)[0], a, false); !errors.Is(err, fault.ErrHostKeyUnknown) {
				t.Errorf("%q: %v", name, err)
			}
			if _, err := os.Stat(file); err == nil {
				t.Errorf("%q: there is a file", name)
			}
		}
	}
}

// TestKeysOfUnknownTypesCount holds what OpenSSH will know, or a broken line, against hosts.
func TestKeysOfUnknownTypesCount(t *testing.T) {
	t.Parallel()
	a := edKey(t).PublicKey()
	future := "ssh-future AAAACnNzaC1mdXR1cmUAAAABeA=="
	k := loadLines(t, "h "+future, "g "+future, keyLine("g", a))
	var e *Error
	if err := k.Check([]string{"h"}, a); !errors.Is(err, fault.ErrHostKeyChanged) || !errors.As(err, &e) || len(e.Retry) > 0 {
		t.Errorf("known by a future type: %v", err)
	}
	if err := k.Check([]string{"g"}, a); err != nil {
		t.Errorf("known by this one too: %v", err)
	}
}

// TestHostNamesAreOpenSSHs looks names up with ssh-keygen -F.
func TestHostNamesAreOpenSSHs(t *testing.T) {
	t.Parallel()
	keygen := need(t, "ssh-keygen")
	a := edKey(t).PublicKey()
	for _, host := range []string{"h", "h.example", "10.0.0.1", "2001:db8::1", "fe80::1%eth0", "under_score"} {
		for _, port := range []int{22, 2222} {
			name := HostNames(host, port)[0]
			file := filepath.Join(t.TempDir(), "known_hosts")
			write(t, file, keyLine(name, a)+"\n")
			if out, err := exec.Command(keygen, "-F", name, "-f", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", name, err, out)
			}
		}
	}
}
