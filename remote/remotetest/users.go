package remotetest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// UserConfig describes a user of this machine that a test needs. Only root can make one.
type UserConfig struct {
	Password string // "": none, and it cannot log in with one
	Shell    string // default /bin/sh
	Sudoers  string // a line for sudoers.d, with USER for the name; "": none
	Base     string // where the home lies; default a temporary directory
	Expired  bool   // the password must be changed at the next login
}

// NewUser makes a user with a random name and a home of its own, and removes both when the test ends.
func NewUser(t testing.TB, cfg UserConfig) (name, home string) {
	t.Helper()
	NeedRoot(t)
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails: crypto/rand
	name = "fltest" + hex.EncodeToString(b)
	home = filepath.Join(sharedDirIn(t, cfg.Base), name)
	if cfg.Shell == "" {
		cfg.Shell = "/bin/sh"
	}
	account(t, "useradd", "-m", "-d", home, "-s", cfg.Shell, "-p", hashPassword(t, cfg.Password), name)
	t.Cleanup(func() {
		for _, pid := range Processes(name) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		account(t, "userdel", "-f", name)
	})
	if cfg.Expired {
		account(t, "chage", "-d", "0", name)
	}
	if cfg.Sudoers != "" {
		file := "/etc/sudoers.d/" + name
		write(t, file, strings.ReplaceAll(cfg.Sudoers, "USER", name)+"\n", 0o440)
		t.Cleanup(func() { _ = os.Remove(file) })
	}
	return name, home
}

// Processes lists what runs as a user, by process id.
func Processes(name string) []int {
	u, err := user.Lookup(name)
	if err != nil {
		return nil
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	var out []int
	for _, d := range dirs {
		st, err := os.Stat(d)
		if err != nil {
			continue
		}
		sys, ok := st.Sys().(*syscall.Stat_t)
		pid, err := strconv.Atoi(filepath.Base(d))
		if ok && err == nil && uint64(sys.Uid) == uid {
			out = append(out, pid)
		}
	}
	return out
}

// hashPassword makes a crypt(5) hash; "*" for none, which sshd takes for a user with keys only.
func hashPassword(t testing.TB, password string) string {
	t.Helper()
	if password == "" {
		return "*"
	}
	out, err := exec.Command(NeedPeer(t, "openssl"), "passwd", "-6", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// account runs a tool that locks /etc/passwd, again when somebody else has the lock.
func account(t testing.TB, name string, args ...string) {
	t.Helper()
	var out []byte
	var err error
	for range 100 {
		if out, err = exec.Command(NeedPeer(t, name), args...).CombinedOutput(); err == nil {
			return
		}
		if !strings.Contains(string(out), "lock") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
}

// DoasConf puts rules into /etc/doas.conf for one test at a time, on the whole machine, and restores what was there.
func DoasConf(t testing.TB, rules string) {
	t.Helper()
	NeedRoot(t)
	NeedPeer(t, "doas")
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "fleetctl-test-doas.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	const path = "/etc/doas.conf"
	before, readErr := os.ReadFile(path)
	write(t, path, rules, 0o400)
	t.Cleanup(func() {
		if readErr == nil {
			_ = os.WriteFile(path, before, 0o400)
		} else {
			_ = os.Remove(path)
		}
		_ = lock.Close()
	})
}

// Addf appends a line to one of the server's files, e.g. authorized_keys.
func (s *SSHD) Addf(file, format string, args ...any) {
	s.t.Helper()
	f, err := os.OpenFile(s.file(file), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err == nil {
		_, err = fmt.Fprintf(f, format+"\n", args...)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		s.t.Fatal(err)
	}
}
