package enrolltest

import (
	"crypto/x509"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"fleetctl/enroll/enrolltest/memcluster"
	"fleetctl/enroll/enrolltest/softtpm"
)

// shUseradd is useradd(8), with the long flags that take a value each.
func shUseradd(s *shell, args []string) int {
	u := &User{Home: "/", Shell: "/bin/sh"}
	name := ""
	for i := 1; i < len(args); i++ {
		value := func() string { i++; return args[min(i, len(args)-1)] }
		switch args[i] {
		case "--system", "--no-create-home":
		case "--gid":
			u.Group = value()
		case "--home-dir":
			u.Home = value()
		case "--shell":
			u.Shell = value()
		case "--comment":
			u.Comment = value()
		default:
			if strings.HasPrefix(args[i], "-") || name != "" {
				return s.unknown("%q", args)
			}
			name = args[i]
		}
	}
	st := &s.host.s
	_, known := st.Groups[u.Group]
	switch {
	case !s.root():
		return s.complain("useradd: Permission denied.")
	case st.Users[name] != nil:
		return 9 * s.complain("useradd: user '%s' already exists", name)
	case !known:
		return 6 * s.complain("useradd: group '%s' does not exist", u.Group)
	}
	u.UID = 999
	for _, other := range st.Users {
		if other.UID < 1000 && other.UID > 99 {
			u.UID = min(u.UID, other.UID-1)
		}
	}
	st.Users[name] = u
	return 0
}

func shGroupadd(s *shell, args []string) int {
	set, names := flags(args, "")
	if !s.only(args, set, "--system") || len(names) != 1 {
		return s.unknown("%q", args)
	}
	st := &s.host.s
	if _, there := st.Groups[names[0]]; there {
		return 9 * s.complain("groupadd: group '%s' already exists", names[0])
	}
	id := 999
	for _, other := range st.Groups {
		if other < 1000 && other > 99 {
			id = min(id, other-1)
		}
	}
	st.Groups[names[0]] = id
	return 0
}

// shUsermod knows -a -G GROUP USER.
func shUsermod(s *shell, args []string) int {
	set, names := flags(args, "G")
	if !s.only(args, set, "a G") || len(names) != 1 {
		return s.unknown("%q", args)
	}
	st, group := &s.host.s, set["G"]
	u := st.Users[names[0]]
	if u == nil {
		return 6 * s.complain("usermod: user '%s' does not exist", names[0])
	}
	if _, there := st.Groups[group]; !there {
		return 6 * s.complain("usermod: group '%s' does not exist", group)
	}
	if !slices.Contains(u.Groups, group) {
		u.Groups = append(u.Groups, group)
	}
	return 0
}

// shUserdel takes the user's own group along where nobody else is in it, as USERGROUPS_ENAB has it.
func shUserdel(s *shell, args []string) int {
	st, name := &s.host.s, args[len(args)-1]
	u := st.Users[name]
	if u == nil {
		return 6 * s.complain("userdel: user '%s' does not exist", name)
	}
	if st.Service.active() == "active" && st.Service.user == name {
		return 8 * s.complain("userdel: user %s is currently used by process %d", name, st.Service.PID)
	}
	delete(st.Users, name)
	if u.Group == name && !st.groupUsed(name) {
		delete(st.Groups, name)
	}
	return 0
}

func (s *State) groupUsed(group string) bool {
	for _, u := range s.Users {
		if u.Group == group || slices.Contains(u.Groups, group) {
			return true
		}
	}
	return false
}

func shGroupdel(s *shell, args []string) int {
	st, name := &s.host.s, args[len(args)-1]
	if _, there := st.Groups[name]; !there {
		return 6 * s.complain("groupdel: group '%s' does not exist", name)
	}
	for user, u := range st.Users {
		if u.Group == name {
			return 8 * s.complain("groupdel: cannot remove the primary group of user '%s'", user)
		}
	}
	for _, u := range st.Users {
		u.Groups = slices.DeleteFunc(u.Groups, func(g string) bool { return g == name })
	}
	delete(st.Groups, name)
	return 0
}

// shGpasswd knows -d USER GROUP.
func shGpasswd(s *shell, args []string) int {
	if len(args) != 4 || args[1] != "-d" {
		return s.unknown("%q", args)
	}
	u := s.host.s.Users[args[2]]
	if u == nil || !slices.Contains(u.Groups, args[3]) {
		return 3 * s.complain("gpasswd: user '%s' is not a member of '%s'", args[2], args[3])
	}
	u.Groups = slices.DeleteFunc(u.Groups, func(g string) bool { return g == args[3] })
	return 0
}

var udevRule = regexp.MustCompile(`(?m)^KERNEL=="(tpm(?:rm)?)\[0-9\]\*".*MODE="([0-7]+)".*GROUP="([^"]+)"`)

// shUdevadm applies the rules for TPMs when it triggers events; a rule whose group is missing changes nothing.
func shUdevadm(s *shell, args []string) int {
	switch {
	case len(args) < 2 || !slices.Contains([]string{"control", "trigger", "settle"}, args[1]):
		return s.unknown("%q", args)
	case !s.hasTool("udevadm"):
		return exitNotFound
	case args[1] != "trigger" || !s.host.s.Sysfs:
		return 0
	}
	st := &s.host.s
	mode, group, _ := st.ruled(st.Device, "", "")
	bits, err := octal(mode, 0)
	if node := st.Files[st.Device]; node != nil && err == nil {
		if mode != "" {
			node.Mode = bits
		}
		if _, known := st.Groups[group]; known {
			node.Group = group
		}
	}
	return 0
}

// ruled is what udev's rules make of a device, and whose rule came last. With ours, what a file of that path will say counts,
// too.
func (s *State) ruled(device, ours, access string) (mode, group, by string) {
	for _, name := range s.ruleFiles(ours) {
		if name == ours {
			mode, group, by = "0660", access, "-"
			continue
		}
		for _, m := range udevRule.FindAllStringSubmatch(string(s.Files[name].Content), -1) {
			if strings.Trim(path.Base(device), "0123456789") == m[1] {
				mode, group, by = m[2], m[3], name
			}
		}
	}
	return mode, group, by
}

// gives is the fact device.gives.
func (s *State) gives(device, ours, access string) string {
	mode, group, by := s.ruled(device, ours, access)
	return "- " + group + " " + mode + " " + by
}

// ruleFiles are the files of udev rules, in udev's order.
func (s *State) ruleFiles(more string) []string {
	var out []string
	if more != "" && s.Files[more] == nil {
		out = append(out, more)
	}
	for name := range s.Files {
		if strings.HasSuffix(name, ".rules") && strings.HasSuffix(path.Dir(name), "/udev/rules.d") {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(path.Base(a), path.Base(b)) })
	return out
}

// shCurl and shWget get what State.Download has.
func shCurl(s *shell, args []string) int {
	to := slices.Index(args, "-o")
	if to < 0 || to+2 >= len(args) || !s.hasTool("curl") {
		return s.unknown("%q", args)
	}
	return s.download("curl", args[to+1], args[len(args)-1])
}

func shWget(s *shell, args []string) int {
	to := slices.Index(args, "-O")
	if to < 0 || to+2 >= len(args) || !s.hasTool("wget") {
		return s.unknown("%q", args)
	}
	return s.download("wget", args[to+1], args[len(args)-1])
}

func (s *shell) download(program, to, url string) int {
	get := s.host.s.Download
	if get == nil {
		return s.unknown("a download of %s: State.Download is not set", url)
	}
	data, err := get(url)
	if err == nil {
		err = s.host.s.write(s.user, to, data, false, s.umask)
	}
	if err != nil {
		return s.complain("%s: %s: %v", program, url, err)
	}
	return 0
}

// shBash runs the cluster's installer, which comes over stdin: bash -s VERSION EDITION.
func shBash(s *shell, args []string) int {
	install := s.host.s.Install
	if len(args) < 2 || args[1] != "-s" || install == nil {
		return s.unknown("%q (State.Install set: %v)", args, install != nil)
	}
	script, err := s.host.unlocked(func() ([]byte, error) { return io.ReadAll(s.in) })
	if err == nil {
		err = install(&s.host.s, script, args[2:])
	}
	if err != nil {
		return s.complain("%v", err)
	}
	return 0
}

// shExec ends the script with a program.
func shExec(s *shell, args []string) int {
	if len(args) < 2 {
		return s.unknown("%q", args)
	}
	s.last = s.call(args[1:])
	s.exited = true
	return s.last
}

// program runs a file by its path, as far as it is a tbot: version, and tpm identify.
func (s *shell) program(args []string) int {
	at := args[0]
	if at == "tbot" {
		at = tbotPath
	}
	f, _, err := s.host.s.follow(s.user, at)
	version := ""
	if err == nil {
		version = tbotVersion(f.Content)
	}
	what := strings.Join(args[1:], " ")
	switch {
	case err != nil:
		return exitNotFound * s.complain("sh: %s: not found", at)
	case !s.host.s.may(s.user, f, 1):
		return 126 * s.complain("sh: %s: Permission denied", at)
	case version != "" && what == "version":
		return s.say("tbot", memcluster.VersionLine(version)+"\n")
	case version != "" && what == "tpm identify":
		return s.identify()
	}
	return s.unknown("program %q", args)
}

// identify is "tbot tpm identify".
func (s *shell) identify() int {
	h := s.host
	switch {
	case h.TPM == nil || h.s.TPM12 || h.s.Files[h.s.Device] == nil:
		return s.complain("%squerying TPM\n\tTPM device not available\n", memcluster.Red)
	case h.tpmOpens(h.s.Device, s.user) != "ok":
		return s.complain("%squerying TPM\n\topen %s: permission denied\n", memcluster.Red, h.s.Device)
	}
	text := "TPM Information\nEKPub Hash: " + h.TPM.EKHash() + "\nEKCert Detected: "
	cert, err := x509.ParseCertificate(h.TPM.Cert)
	if err != nil {
		return s.say("tbot", text+"false\n")
	}
	return s.say("tbot", text+"true\nEKCert Serial: "+softtpm.SerialOf(cert)+"\n")
}
